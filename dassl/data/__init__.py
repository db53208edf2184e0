"""Data sets and loaders, loaded on first use: lists of images are read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dassl.lazy import names_from

if TYPE_CHECKING:
    from .data_manager import DataManager as DataManager
    from .data_manager import DatasetWrapper as DatasetWrapper

__all__ = ["DataManager", "DatasetWrapper"]

__getattr__ = names_from(__name__, {".data_manager": " ".join(__all__)})
