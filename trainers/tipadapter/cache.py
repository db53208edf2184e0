"""Tip-Adapter's cache of few-shot images beside frozen CLIP, fixed or learned, and the search for its two numbers.

What the method is, and what of it is the paper's or the release's, stands in ``method.py``.

Shapes: B images, N images in the cache, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.layers import no_autocast
from clip.model import CLIP

from ..shared.cosine import release_scale
from ..shared.features import Features, places_among, row_of_each
from ..shared.method import Method

ROWS = 4096  # of images that the search scores at once


class TipAdapterModel(Method):
    """The cache beside frozen CLIP.

    Its tensors: ``cache_keys`` ``[d, N]`` (unit columns), ``cache_labels`` ``[N]``, ``alpha`` and ``beta``.

    Args:
        clip_model: frozen CLIP.
        classnames: C names; the labels of the cache count in their order.
        text: unit class features ``[C, d]``.
        alpha, beta: weight and sharpness of the cache.
    """

    cache_labels: Tensor
    cache_keys: Tensor
    alpha: Tensor
    beta: Tensor
    of_cache: tuple[str, ...] = ("cache_keys",)

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], text: Tensor, alpha: float, beta: float):
        super().__init__(clip_model)
        self.classnames, self.text, self.scale = list(classnames), text, release_scale(clip_model)
        self.trained = self.classnames
        self.seen, self.places = True, list(range(len(classnames)))
        self.register_buffer("cache_labels", torch.zeros(0, dtype=torch.long))
        self.register_buffer("alpha", torch.tensor(float(alpha)))
        self.register_buffer("beta", torch.tensor(float(beta)))
        self.add_keys()

    def set_numbers(self, alpha: float, beta: float) -> None:
        """Set weight and sharpness of the cache."""
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)

    def add_keys(self) -> None:
        """Make the tensor that holds the keys."""
        self.register_buffer("cache_keys", torch.zeros(self.text.shape[1], 0))

    def set_cache(self, keys: Tensor, labels: Tensor) -> None:
        """Set the cache: unit features ``[N, d]`` and their labels ``[N]``."""
        self.cache_keys, self.cache_labels = keys.t().contiguous(), labels

    def affinity(self, f: Tensor) -> Tensor:
        """Return f K ``[B, N]`` of unit features ``[B, d]``."""
        return f @ self.cache_keys

    def by_class(self, weights: Tensor) -> Tensor:
        """Return the product with V: sums of ``[B, N]`` over the images of each class, ``[B, C]``."""
        labels, own = self.cache_labels, list(range(len(self.classnames)))
        if self.places != own:
            labels = torch.tensor(self.places, device=weights.device)[labels]
        return weights.new_zeros(weights.shape[0], len(self.classnames)).index_add(1, labels, weights)

    def logits(self, f: Tensor) -> Tensor:
        """Return z ``[B, C]`` of unit features ``[B, d]``; for classes without cached images the zero-shot term."""
        with no_autocast(f):
            zero_shot = self.scale * f @ self.text.t()
            if not self.seen:
                return zero_shot
            return zero_shot + self.alpha * self.by_class(torch.exp(self.beta * (self.affinity(f) - 1)))

    def class_features(self) -> Tensor:
        """Return the frozen class features ``[C, d]``. Raises ValueError where the cache is of other classes."""
        if self.seen and not self.places:
            raise ValueError("the cache is of other classes than those to score: they can be scored as new ones only")
        return self.text

    def scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """Return the scores ``[B, C]``."""
        return self.logits(self.image_features(images))

    def use_classes(self, seen: bool) -> None:
        """Score the classes trained on with the cache, others by zero-shot CLIP alone."""
        self.seen = seen

    def use_all_classes(self) -> None:
        """Score all classes with the cache, which adds nothing to those without images in it."""
        self.seen, self.places = True, row_of_each(self.trained, self.classnames)

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on the size of a checkpoint's cache and the order of its classes."""
        self.trained = self.classnames if classnames is None else list(classnames)
        self.places = places_among(self.classnames, self.trained) or []
        for name in ("cache_labels", *self.of_cache):
            if name in tensors:
                value = getattr(self, name)
                value.data = value.new_zeros(tensors[name].shape)


class TipAdapterFModel(TipAdapterModel):
    """The same with learned keys, ``weight`` ``[N, d]`` in the release; it starts as the cache's keys."""

    of_cache = ("weight",)

    def add_keys(self) -> None:
        """Make the tensor that holds the keys."""
        self.weight = nn.Parameter(torch.zeros(0, self.text.shape[1]))

    def make_room(self, labels: Tensor) -> None:
        """Size the cache for images with these labels ``[N]``; its keys are zero until they are set."""
        self.cache_labels = labels
        self.weight.data = self.weight.new_zeros(len(labels), self.weight.shape[1])

    def set_cache(self, keys: Tensor, labels: Tensor) -> None:
        """Set the cache: unit features ``[N, d]`` and their labels ``[N]``."""
        self.cache_labels = labels
        self.weight.data = keys.clone()

    def affinity(self, f: Tensor) -> Tensor:
        """Return f K ``[B, N]`` of unit features ``[B, d]``."""
        return F.linear(f, self.weight)


class Found(NamedTuple):
    """What a search gives."""

    alpha: float
    beta: float
    accuracy: float  # in percent
    grid: Tensor  # accuracies in percent, [betas, alphas], float64


def accuracy_of(model: TipAdapterModel, features: Features) -> float:
    """Return the accuracy in percent of unit features with the model's alpha and beta."""
    with torch.no_grad():
        parts = zip(features.values.split(ROWS), features.labels.split(ROWS), strict=True)
        correct = torch.stack([(model.logits(f).argmax(dim=1) == labels).sum() for f, labels in parts]).sum()
    return 100.0 * correct.item() / len(features.labels)


@torch.no_grad()
def search(model: TipAdapterModel, features: Features, scale: Sequence[float], steps: Sequence[int]) -> Found:
    """Return the alpha and beta that do best on unit features.

    Beta runs over 0.1 + i (scale[0] - 0.1) / steps[0], alpha likewise with scale[1] and steps[1]; of equals the first
    is taken, alpha varying faster.
    """
    betas, alphas = (
        [0.1 + i * (top - 0.1) / count for i in range(count)] for top, count in zip(scale, steps, strict=True)
    )
    correct = torch.zeros(len(betas), len(alphas), dtype=torch.long, device=features.values.device)
    for f, labels in zip(features.values.split(ROWS), features.labels.split(ROWS), strict=True):
        zero_shot, affinity = model.scale * f @ model.text.t(), model.affinity(f)
        for i, beta in enumerate(betas):
            cached = model.by_class(torch.exp(-beta * (1 - affinity)))
            hits = [((zero_shot + alpha * cached).argmax(dim=1) == labels).sum() for alpha in alphas]
            correct[i] += torch.stack(hits)
    grid = 100.0 * correct.double().cpu() / len(features.labels)
    best = int(grid.argmax())
    beta, alpha = betas[best // len(alphas)], alphas[best % len(alphas)]
    return Found(alpha, beta, float(grid.flatten()[best]), grid)
