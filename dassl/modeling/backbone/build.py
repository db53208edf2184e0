"""Backbones by name."""

from __future__ import annotations

from typing import Any

from dassl.lazy import names_from
from dassl.utils.registry import Registry

__getattr__ = names_from(__name__, {"dassl.utils": "check_availability"})

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(name: str, verbose: bool = True, **kwargs: Any) -> Any:
    """Build the backbone `name`; ValueError if there is none of that name."""
    return BACKBONE_REGISTRY.build("Backbone", name, verbose, **kwargs)
