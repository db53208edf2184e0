"""The linear probe, plainly: multinomial logistic regression on the image tower's features, as in scikit-learn."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.reference.plain_adapters import image_feature
from tests.reference.plain_clip import PlainCLIP


class PlainLinearProbe:
    """1/2 |W|^2 + C sum of log-losses over features ``[N, d]``, not normalised; the intercept is not penalised."""

    def __init__(self, weights: dict[str, Tensor], c: float):
        self.clip, self.c = PlainCLIP(weights), c

    def logits(self, coef: Tensor, intercept: Tensor, images: Tensor) -> Tensor:
        """``[B, C]`` of images ``[B, 3, H, W]`` with the head ``[C, d]`` and ``[C]``."""
        return image_feature(self.clip, images) @ coef.t() + intercept

    def loss(self, coef: Tensor, intercept: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """What the fit minimises."""
        scores = features @ coef.t() + intercept
        of_label = scores[torch.arange(len(labels)), labels]
        return 0.5 * (coef * coef).sum() + self.c * (scores.logsumexp(dim=1) - of_label).sum()
