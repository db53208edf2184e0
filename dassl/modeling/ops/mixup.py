"""Mixtures of images and labels.

Sources: Zhang et al., mixup, ICLR 2018; Berthelot et al., MixMatch, NeurIPS 2019, equations 8 to 11 (`preserve_order`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def mixup(
    x1: Tensor, x2: Tensor, y1: Tensor, y2: Tensor, beta: float, preserve_order: bool = False
) -> tuple[Tensor, Tensor]:
    """Mix images `[B, C, H, W]` and one-hot labels `[B, K]`, image by image with a weight from Beta(beta, beta).

    With `preserve_order` the first images weigh at least as much as the second.
    """
    weight = torch.distributions.Beta(beta, beta).sample((len(x1), 1, 1, 1)).to(x1.device)
    if preserve_order:
        weight = torch.maximum(weight, 1 - weight)
    row = weight[:, :, 0, 0]
    return x1 * weight + x2 * (1 - weight), y1 * row + y2 * (1 - row)
