"""Training steps of several runs at once: one method, one data set, several seeds (``grid --together``).

A method that has a ``joint_losses`` of its own folds the seeds into the batch axis. Each seed's loss and gradients are
those of its own step, up to the rounding of larger matrix products.

Shapes: S seeds, B images of each, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dassl.metrics import compute_accuracy

from .cosine import cosine_logits

Losses = list[tuple[Tensor, Tensor]]  # of S seeds: loss and scores [B, C] of each
Step = tuple[Any, Tensor, Tensor]  # a trainer with its images [B, ...] and labels [B]


def can(trainer: Any) -> bool:
    """Return whether a trainer's steps can be taken with those of other seeds.

    A ``joint_losses`` that a method inherits is that of another loss; a compiled step and one with plug-ins
    stand for themselves.
    """
    apart = trainer.cfg.TRAINER.COMPILE or trainer.cfg.TRAINER.PLUGINS
    return "joint_losses" in vars(type(getattr(trainer, "model", None))) and not apart


def passes(steps: Sequence[Step]) -> list[Tensor | Exception]:
    """Do what ``CLIPTrainer.run_pass`` does for each step; those with batches of one shape share one pass.

    Returns for each its loss and accuracy ``[2]``, or what was raised.
    """
    alike = defaultdict(list)
    for number, (_, images, labels) in enumerate(steps):
        alike[images.shape, labels.shape].append(number)
    found: dict[int, Any] = {}
    for some in alike.values():
        try:
            found |= zip(some, _passes([steps[number] for number in some]), strict=True)
        except (RuntimeError, ValueError, LookupError, MemoryError) as error:
            found |= dict.fromkeys(some, error)
    return [found[number] for number in range(len(steps))]


def _passes(steps: Sequence[Step]) -> list[Tensor]:
    trainers, images, labels = zip(*steps, strict=True)
    first = trainers[0]
    if len(steps) == 1:
        return [first.run_pass(images[0], labels[0])]
    with first.autocast():
        found = first.model.joint_losses([trainer.model for trainer in trainers], torch.stack(images), labels)
    for trainer in trainers:
        trainer.optim.zero_grad()
    pairs = zip(trainers, found, strict=True)
    torch.autograd.backward([loss if one.scaler is None else one.scaler.scale(loss) for one, (loss, _) in pairs])
    return [numbers(loss, scores, own) for (loss, scores), own in zip(found, labels, strict=True)]


def numbers(loss: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Return a loss and the accuracy of scores ``[B, C]``, ``[2]``."""
    accuracy = compute_accuracy(scores.detach(), labels)[0].reshape(())
    return torch.stack([loss.detach(), accuracy.to(loss)])


def cosine_losses(models: Sequence[Any], f: Tensor, w: Tensor, labels: Sequence[Tensor]) -> Losses:
    """Return for each seed the mean cross-entropy of CLIP's cosine logits, and these.

    Image features are ``[S, B, d]``, class features ``[S, C, d]``, labels ``[B]`` each.
    """
    logits = [cosine_logits(model.clip_model, *own) for model, *own in zip(models, f, w, strict=True)]
    return [(F.cross_entropy(scores, own), scores) for scores, own in zip(logits, labels, strict=True)]


def stacked(groups: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return J tensors ``[S, K, d]`` of S times J tensors ``[K, d]``."""
    return [torch.stack(one) for one in zip(*groups, strict=True)]
