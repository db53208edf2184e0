"""Data sets and loaders, loaded on first use: lists of images are read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data_manager import DataManager as DataManager
    from .data_manager import DatasetWrapper as DatasetWrapper

__all__ = ["DataManager", "DatasetWrapper"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import data_manager

    return getattr(data_manager, name)
