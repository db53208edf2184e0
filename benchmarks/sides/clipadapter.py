"""CLIP-Adapter and its plain reference, which encodes the constant text at every step, as the authors' file does."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import ours_of
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_adapters import PlainCLIPAdapter
from trainers.clipadapter import CLIPAdapterModel
from trainers.shared.features import template_features
from trainers.shared.templates import TEMPLATES, fill

TEMPLATE = TEMPLATES["ImageNet"]
RATIO = 0.2


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model with ImageNet's template."""
    return ours_of(CLIPAdapterModel(clip_model, template_features(clip_model, names, [TEMPLATE]), RATIO))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    projection = weights["text_projection"]
    reference = PlainCLIPAdapter(weights, tokenize(fill(TEMPLATE, names)).long().to(projection.device), RATIO)

    def cast() -> Learned:
        return {name: value.to(projection.dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        z = reference.image_features(cast(), images.to(projection.dtype))
        return (reference.scale * z @ class_features.t()).float().softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(projection.dtype), labels),
        lambda: reference.clip.text_feature(reference.tokens),
        scores,
    )
