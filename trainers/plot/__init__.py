"""PLOT++: prompt learning with optimal transport (ICLR 2023)."""

from .method import PLOT, PLOTModel
from .phrases import PHRASES

__all__ = ["PHRASES", "PLOT", "PLOTModel"]
