"""The default configuration: the listed keys."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from ..surface import DEFAULTS, SURFACE

LISTS = ("INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD")  # the other sequences are tuples, which JSON does not know


def get_cfg_default():
    cfg = CfgNode()
    for key, value in SURFACE[DEFAULTS].items():
        *groups, last = key.split(".")
        node: Any = cfg
        for group in groups:
            node = node.setdefault(group, CfgNode())
        node[last] = tuple(value) if isinstance(value, list) and key not in LISTS else value
    return cfg
