"""The two programs that a benchmark compares: the model that a run builds, and the method's plain reference.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import reference
import trainers
from clip.model import CLIP
from dassl.config import get_cfg_default
from reference.shared.plain import Learned, Weights
from runs.config import merge_pairs

DATASET = "Caltech101"  # for the templates: "a photo of a {}."


@dataclass(frozen=True)
class Side:
    """One of the two programs.

    Attributes:
        learned: learned tensors by name, and others of the checkpoint, which ask for no gradient.
        loss: images ``[B, 3, H, W]``, labels ``[B]`` to the training loss.
        class_features: what evaluation computes of the classes once, ``[C, d]`` or whatever else ``scores`` takes.
        scores: images, class features, and whether the classes are those trained on, to probabilities ``[B, C]``.
    """

    learned: Learned
    loss: Callable[[Tensor, Tensor], Tensor]
    class_features: Callable[[], Any]
    scores: Callable[[Tensor, Any, bool], Tensor]


def configuration(method: str) -> Any:
    """Return the method's default settings and those of its benchmark."""
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    options = {"TRAINER.NAME": method, "DATASET.NAME": DATASET, **reference.of(method).bench}
    merge_pairs(cfg, list(options.items()))
    return cfg


def ours(method: str, clip_model: CLIP, names: list[str]) -> Side:
    """Build the model as a run does."""
    facts, kind = reference.of(method), trainers.load(method)
    model = kind.build_method(configuration(method), clip_model, names)
    model.to(clip_model.positional_embedding.device)
    facts.ready(model)

    def scores(images: Tensor, class_features: Any, seen: bool) -> Tensor:
        model.use_classes(seen)
        return model.probabilities(model.scores(images, class_features))

    state = model.state_dict(keep_vars=True)
    learned: Learned = {name: value for name, value in state.items() if value.is_floating_point()}
    return Side(learned, lambda images, labels: facts.step(model, images, labels), model.class_features, scores)


def plain(method: str, weights: Weights, names: list[str], learned: Learned) -> Side:
    """Build the equations, on the device and in the dtype of ``weights``."""
    equations = reference.of(method).plain(weights, names, configuration(method))
    dtype = weights["text_projection"].dtype

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Any, seen: bool) -> Tensor:
        found = equations.scores(cast(), images.to(dtype), class_features, seen)
        return equations.probabilities(found.float(), seen)

    return Side(
        learned,
        lambda images, labels: equations.step(cast(), images.to(dtype), labels),
        lambda: equations.class_features(cast()),
        scores,
    )


def learned_at_start(method: str, clip_model: CLIP, names: list[str], device: str) -> Learned:
    """Return copies of our learned tensors as they start, on the device."""
    torch.manual_seed(0)
    start = ours(method, clip_model, names).learned
    return {
        name: value.detach().clone().to(device).requires_grad_(value.requires_grad) for name, value in start.items()
    }
