"""CoCoOp and its plain reference, which goes image by image as the official code does."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import CONTEXT, TEMPLATE, name_lengths, ours_of, plain_of, token_ids
from clip.model import CLIP
from tests.reference.plain_coop import PlainCoCoOp
from trainers.cocoop import CoCoOpModel


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model over "a photo of a"."""
    return ours_of(CoCoOpModel(clip_model, names, CONTEXT))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations; there are no class features before there is an image."""
    reference = PlainCoCoOp(weights, token_ids(weights, TEMPLATE, names), name_lengths(names))
    dtype = weights["text_projection"].dtype

    def scores(images: Tensor, class_features: None, both: bool) -> Tensor:
        cast = {name: value.to(dtype) for name, value in learned.items()}
        return reference.logits(cast, images.to(dtype)).float().softmax(dim=-1)

    return replace(plain_of(reference, learned), class_features=lambda: None, scores=scores)
