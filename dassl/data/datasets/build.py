"""Datasets by name."""

from __future__ import annotations

from typing import Any

from dassl.lazy import names_from
from dassl.utils.registry import Registry

__getattr__ = names_from(__name__, {"dassl.utils": "check_availability"})

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: Any) -> Any:
    """Build the dataset that `cfg.DATASET.NAME` names; ValueError if there is none of that name."""
    return DATASET_REGISTRY.build("Loading dataset", cfg.DATASET.NAME, cfg.VERBOSE, cfg)
