"""Data sets and loaders, loaded on first use: lists of images are read without torch."""

from dassl.lazy import names_from

__all__ = ["DataManager", "DatasetWrapper"]

__getattr__ = names_from(__name__, {".data_manager": " ".join(__all__)})
