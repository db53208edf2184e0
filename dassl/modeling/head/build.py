"""Heads by name."""

from __future__ import annotations

from typing import Any

from dassl.utils.registry import Registry

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs: Any) -> Any:
    """Build the head `name`; ValueError if there is none of that name."""
    head = HEAD_REGISTRY.get(name)
    if verbose:
        print(f"Head: {name}")
    return head(**kwargs)
