"""MMRL: multi-modal representation learning for vision-language models (CVPR 2025)."""

from .method import MMRL, MMRLModel, Outputs, Projected

__all__ = ["MMRL", "MMRLModel", "Outputs", "Projected"]
