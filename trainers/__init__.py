"""The methods. A new one is a file here, a folder in ``configs/trainers`` and a row in ``METHODS``.

Nothing here needs torch, so that a run's configuration is resolved, and a finished run recognised, at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from yacs.config import CfgNode


@dataclass(frozen=True)
class Entry:
    """Where a method lives, and the defaults of its node ``TRAINER.<NODE>``, which are those of its paper."""

    module: str
    node: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


METHODS = {
    "MMRL": Entry(
        "trainers.mmrl",
        "MMRL",
        {
            "ALPHA": 0.7,
            "REG_WEIGHT": 0.5,  # lambda; per data set in configs/trainers/MMRL/datasets.yaml
            "REP_LAYERS": [6, 7, 8, 9, 10, 11, 12],
            "REP_DIM": 512,
            "N_REP_TOKENS": 5,
            "PREC": "amp",
            "FUSION": "probs",
        },
    ),
    "ZeroshotCLIP": Entry("trainers.zsclip"),
    "ZeroshotCLIP2": Entry("trainers.zsclip"),
}


def extend_cfg(cfg: Any) -> None:
    """Add every method's node and the keys that the CoOp family shares to Dassl's defaults.

    ``TASK`` is the protocol: B2N (base to new), CD (cross-dataset and domain generalisation), FS (few-shot).
    """
    cfg.TASK = "B2N"
    cfg.TRAINER.COMPILE = False  # torch.compile for the training step
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    cfg.DATASET.TEMPLATE = ""  # of the prompts, such as "a photo of a {}."; empty: the data set's own
    for entry in METHODS.values():
        if entry.node:
            cfg.TRAINER[entry.node] = CfgNode(dict(entry.defaults))


def load(name: str) -> Any:
    """The trainer class registered under ``name``. Raises ValueError naming the known methods."""
    if name not in METHODS:
        raise ValueError(f"unknown trainer {name!r}: the methods are {', '.join(METHODS)}")
    return getattr(import_module(METHODS[name].module), name)
