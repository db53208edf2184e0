"""RPO and its plain reference."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import TEMPLATE, ours_of, token_ids
from clip.model import CLIP
from tests.reference.plain_rpo import PlainRPO
from trainers.rpo import RPOModel
from trainers.shared.templates import fill

PAIRS = 24


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model with 24 pairs."""
    return ours_of(RPOModel(clip_model, fill(TEMPLATE, names), PAIRS))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    reference, dtype = PlainRPO(weights, token_ids(weights, TEMPLATE, names)), weights["text_projection"].dtype

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        f = reference.image_features(cast(), images.to(dtype))
        return reference.logits_of(f, class_features).float().softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(dtype), labels),
        lambda: reference.text_features(cast()),
        scores,
    )
