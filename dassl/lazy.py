"""Names of a module that are loaded on first use, so that importing it imports neither torch nor anything slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_from(module: str, sources: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for `module`: `sources` says which names, separated by spaces, are in which module.

    A source that begins with a dot is relative to the package `module`. AttributeError for any other name.
    """
    homes = {name: source for source, names in sources.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(homes[name], module), name)

    return get
