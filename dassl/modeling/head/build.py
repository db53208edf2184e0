"""Heads by name."""

from __future__ import annotations

from typing import Any

from dassl.lazy import names_from
from dassl.utils.registry import Registry

__getattr__ = names_from(__name__, {"dassl.utils": "check_availability"})

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs: Any) -> Any:
    """Build the head `name`; ValueError if there is none of that name."""
    return HEAD_REGISTRY.build("Head", name, verbose, **kwargs)
