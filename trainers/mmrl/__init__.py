"""MMRL: multi-modal representation learning for vision-language models (CVPR 2025)."""

from .method import ALONE, MMRL, MMRLModel, Outputs, Projected

__all__ = ["ALONE", "MMRL", "MMRLModel", "Outputs", "Projected"]
