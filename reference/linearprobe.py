"""The linear probe, plainly: multinomial logistic regression on the image tower's features, as in scikit-learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reference import Reference

from .shared.plain import Learned, Plain, Weights


class PlainLinearProbe(Plain):
    """1/2 |W|^2 + C sum of log-losses over features ``[N, d]``, not normalised; the intercept is not penalised."""

    def __init__(self, weights: Weights, c: float):
        super().__init__(weights)
        self.c = c

    def class_features(self, learned: Learned) -> None:
        """None are needed."""

    def scores(self, learned: Learned, images: Tensor, class_features: None, seen: bool = True) -> Tensor:
        """``[B, C]`` with the head ``coef`` ``[C, d]`` and ``intercept`` ``[C]``."""
        return self.clip.raw_image_feature(images) @ learned["coef"].t() + learned["intercept"]

    def objective(self, coef: Tensor, intercept: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """What the fit minimises."""
        scores = features @ coef.t() + intercept
        of_label = scores[torch.arange(len(labels)), labels]
        return 0.5 * (coef * coef).sum() + self.c * (scores.logsumexp(dim=1) - of_label).sum()


def ready(model: Any) -> None:
    """Draw a head."""
    for value in (model.coef, model.intercept):
        value.normal_()


LinearProbe = Reference(
    lambda weights, names, cfg: PlainLinearProbe(weights, 1.0),
    ready=ready,
    learns=False,
    new_classes=False,
    lacks={
        "golden": "its head is proved to be the optimum instead",
        "checkpoints": "its public code keeps none",
        "commands": "its public code has a command line of another form",
        "draws": "its images are drawn as the public code's where SAMPLING is official",
    },
)
