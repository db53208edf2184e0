"""Optimal transport between two small sets of features (PLOT, section 3).

Shapes: B images, C classes, M views of an image, N prompts of a class, d joint width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..shared.cosine import at_least_float32, l2_normalize


class Sinkhorn(NamedTuple):
    """Entropy's weight, the largest number of iterations, and the mean change that stops them."""

    eps: float = 0.1
    max_iter: int = 100
    thresh: float = 0.01

    @torch.compiler.disable  # how many iterations there are depends on the values
    @torch.no_grad()
    def plan(self, cosines: Tensor) -> Tensor:
        """Return transport plans ``[..., M, N]`` between uniform marginals for cosines of the same shape."""
        kernel = torch.exp((cosines - 1) / self.eps)
        u, v = 1 / kernel.shape[-2], 1 / kernel.shape[-1]
        r, c = torch.ones_like(kernel[..., 0]), torch.ones_like(kernel[..., 0, :])
        for _ in range(self.max_iter):
            before = r
            r = u / (kernel * c[..., None, :]).sum(dim=-1)
            c = v / (kernel * r[..., None]).sum(dim=-2)
            if (r - before).abs().mean() < self.thresh:
                break
        return r[..., None] * kernel * c[..., None, :]


class FeatureSet(NamedTuple):
    """Features of one side: of each view or prompt, and their mean, all of unit length."""

    each: Tensor  # [M, B, d] or [N, C, d]
    mean: Tensor  # [B, d] or [C, d]

    @classmethod
    def of(cls, features: Tensor) -> FeatureSet:
        """Return the set of features that are not normalised; nor are they for the mean."""
        return cls(l2_normalize(features), l2_normalize(at_least_float32(features).mean(dim=0)))
