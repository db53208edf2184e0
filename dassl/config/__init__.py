"""The configuration tree."""

from __future__ import annotations

from yacs.config import CfgNode

from .defaults import _C as cfg_default
from .defaults import get_cfg_default

__all__ = ["cfg_default", "clean_cfg", "get_cfg_default"]


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Remove the settings of all trainers but `trainer`, so that a printed configuration says what matters."""
    for key in list(cfg.TRAINER):
        if key not in ("NAME", trainer.upper()):
            del cfg.TRAINER[key]
