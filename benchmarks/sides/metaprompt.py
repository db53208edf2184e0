"""MetaPrompt and its plain reference, with ViT-B/16's settings.

A step here has all that a training step computes, as one loss: the first part's, and per half of the classes the loss
at text tokens that have gone one plain gradient step on the other half, whose gradient is that of the second part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import ours_of, token_ids
from clip.model import CLIP
from tests.reference.plain_metaprompt import TEXT, PlainMetaPrompt
from trainers.metaprompt import MetaPromptModel, halves_of

FROZEN, LEARNED = "a photo of a {}", "X X {}."
RATE = 0.0015


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model: 2 tokens in every layer of each tower."""
    model = MetaPromptModel(clip_model, names, [FROZEN], 2, 2, clip_model.transformer.layers)
    side = ours_of(model)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        total, known = side.loss(images, labels), labels.tolist()
        f_0: Any = model.frozen_features
        for own, other in halves_of(_order(len(names))):
            mine, theirs = ([i for i, label in enumerate(known) if label in half] for half in (own, other))
            if mine and theirs:
                inner = model.class_loss(f_0[theirs], [known[i] for i in theirs], other)
                moved = _moved(inner, model.theta)
                total = total + model.class_loss(f_0[mine], [known[i] for i in mine], own, moved)
        return total

    return Side(side.learned, loss, side.class_features, side.scores)


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    dtype = weights["text_projection"].dtype
    tokens, frozen = (token_ids(weights, template, names) for template in (LEARNED, FROZEN))
    reference = PlainMetaPrompt(weights, tokens, [frozen])

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        values, x = cast(), images.to(dtype)
        total = reference.loss(values, x, labels)
        for own, other in reference.halves(labels, _order(len(names))):
            moved = _moved(reference.class_loss(values[TEXT], x, labels, other), values[TEXT])
            total = total + reference.class_loss(moved, x, labels, own)
        return total

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        i, t = reference.both(cast(), images.to(dtype), class_features)
        return ((i + t) / 2).float().softmax(dim=-1)

    return Side(learned, loss, lambda: reference.text_features(cast()), scores)


def _order(classes: int) -> list[int]:
    """Even numbers first, so that a random batch mostly has images of both halves."""
    return [*range(0, classes, 2), *range(1, classes, 2)]


def _moved(inner: Tensor, theta: Tensor) -> Tensor:
    """One gradient step, through which gradients pass unchanged."""
    (gradient,) = torch.autograd.grad(inner, theta)
    return theta - RATE * gradient
