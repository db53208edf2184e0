"""MMRL: multi-modal representation learning for vision-language models (CVPR 2025)."""

from .method import MMRL, MMRLModel, Projected

__all__ = ["MMRL", "MMRLModel", "Projected"]
