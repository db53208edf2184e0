"""Evaluators by name."""

from __future__ import annotations

from typing import Any

from dassl.lazy import names_from
from dassl.utils.registry import Registry

__getattr__ = names_from(__name__, {"dassl.utils": "check_availability"})

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg: Any, **kwargs: Any) -> Any:
    """Build the evaluator that `cfg.TEST.EVALUATOR` names; ValueError if there is none of that name."""
    return EVALUATOR_REGISTRY.build("Loading evaluator", cfg.TEST.EVALUATOR, cfg.VERBOSE, cfg, **kwargs)
