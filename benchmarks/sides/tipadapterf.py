"""Tip-Adapter-F with 16 images per class in its cache and its plain reference, which encodes the text once, as ours."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import ours_of
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_adapters import PlainTipAdapter
from trainers.shared.cosine import l2_normalize
from trainers.shared.features import template_features
from trainers.shared.templates import TEMPLATES, fill
from trainers.tipadapter.cache import TipAdapterFModel

TEMPLATE = TEMPLATES["ImageNet"]
ALPHA, BETA, SHOTS = 1.5, 1.0, 16


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model over random keys."""
    text = template_features(clip_model, names, [TEMPLATE])
    model = TipAdapterFModel(clip_model, names, text, ALPHA, BETA)
    labels = _labels(len(names))
    model.set_cache(l2_normalize(torch.randn(len(labels), text.shape[1])).to(text.device), labels.to(text.device))
    return ours_of(model)


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    projection = weights["text_projection"]
    tokens = tokenize(fill(TEMPLATE, names)).long().to(projection.device)
    with torch.no_grad():
        reference = PlainTipAdapter(weights, [tokens], ALPHA, BETA)
    labels = _labels(len(names)).to(projection.device)

    def logits(images: Tensor) -> Tensor:
        return reference.logits(learned["weight"].to(projection.dtype), labels, images.to(projection.dtype))

    return Side(
        learned,
        lambda images, targets: torch.nn.functional.cross_entropy(logits(images), targets),
        lambda: reference.clip.text_feature(tokens),
        lambda images, class_features, both: logits(images).float().softmax(dim=-1),
    )


def _labels(classes: int) -> Tensor:
    return torch.arange(classes).repeat_interleave(SHOTS)
