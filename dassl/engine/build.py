"""Trainers by name."""

from __future__ import annotations

from typing import Any

from dassl.lazy import names_from
from dassl.utils.registry import Registry

__getattr__ = names_from(__name__, {"dassl.utils": "check_availability"})

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: Any) -> Any:
    """Build the trainer that `cfg.TRAINER.NAME` names; ValueError if there is none of that name."""
    return TRAINER_REGISTRY.build("Loading trainer", cfg.TRAINER.NAME, cfg.VERBOSE, cfg)
