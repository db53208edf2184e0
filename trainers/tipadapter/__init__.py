"""Tip-Adapter: training-free adaption of CLIP with a key-value cache, and its fine-tuned form (ECCV 2022)."""

from .method import TipAdapter, TipAdapterF

__all__ = ["TipAdapter", "TipAdapterF"]
