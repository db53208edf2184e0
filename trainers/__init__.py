"""The methods. A new one is a file here, a folder in ``configs/trainers`` and a row in ``METHODS``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Registry name -> the module that registers it and has its ``add_config``.
METHODS = {
    "MMRL": "trainers.mmrl",
    "ZeroshotCLIP": "trainers.zsclip",
    "ZeroshotCLIP2": "trainers.zsclip",
}


def extend_cfg(cfg: Any) -> None:
    """Add every method's node ``TRAINER.<METHOD>`` and the keys that the CoOp family shares to Dassl's defaults.

    ``TASK`` is the protocol: B2N (base to new), CD (cross-dataset and domain generalisation), FS (few-shot).
    """
    cfg.TASK = "B2N"
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    for module in dict.fromkeys(METHODS.values()):
        import_module(module).add_config(cfg)


def load(name: str) -> Any:
    """The trainer class registered under ``name``. Raises ValueError naming the known methods."""
    if name not in METHODS:
        raise ValueError(f"unknown trainer {name!r}: the methods are {', '.join(METHODS)}")
    return getattr(import_module(METHODS[name]), name)
