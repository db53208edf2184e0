"""PLOT++ in its second stage, where all is learned, and its plain reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import ours_of
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_plot import PlainPLOT
from trainers.plot import PHRASES, PLOTModel
from trainers.shared.templates import fill

OURS = PHRASES["Caltech101"]


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model with four views."""
    return ours_of(PLOTModel(clip_model, names, OURS))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    projection = weights["text_projection"]
    tokens = torch.stack([tokenize(fill(f"{phrase} {{}}.", names)).long() for phrase in OURS])
    reference = PlainPLOT(weights, tokens.to(projection.device))

    def cast() -> Learned:
        return {name: value.to(projection.dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Any, both: bool) -> Tensor:
        views = reference.views(cast(), images.to(projection.dtype))
        return reference.logits_of(views, class_features).float().softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(projection.dtype), labels),
        lambda: reference.texts(cast()),
        scores,
    )
