"""MaPLe and its plain reference with ViT-B/16's settings, and the plain side of all who learn deep prompts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import PHRASE, TEMPLATE, ours_of, token_ids
from clip.model import CLIP
from tests.reference.plain_maple import PlainMaPLe
from trainers.maple import MaPLeModel


def depth_of(layers: int) -> int:
    """9 of 12 layers."""
    return max(1, layers * 3 // 4)


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model: 2 tokens in each of 9 layers."""
    return ours_of(MaPLeModel(clip_model, names, 2, depth_of(clip_model.transformer.layers), PHRASE))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    reference, dtype = PlainMaPLe(weights, token_ids(weights, TEMPLATE, names)), weights["text_projection"].dtype
    return plain_of(reference, learned, dtype)


def plain_of(reference: Any, learned: Learned, dtype: Any) -> Side:
    """The side of a reference whose image features meet its text features."""

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        f = reference.image_features(cast(), images.to(dtype))
        return (reference.scale * f @ class_features.t()).float().softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(dtype), labels),
        lambda: reference.text_features(cast()),
        scores,
    )
