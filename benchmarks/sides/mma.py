"""MMA and its plain reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import TEMPLATE, ours_of, token_ids
from clip.model import CLIP
from tests.reference.plain_mma import PlainMMA
from trainers.mma import MMAModel
from trainers.settings import MMASettings
from trainers.shared.templates import fill


def _settings(layers: int) -> MMASettings:
    """The official ones: layers 5 to 12 of 12."""
    return MMASettings(layers // 3 + 1, layers, 32, 0.001)


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model over "a photo of a"."""
    return ours_of(MMAModel(clip_model, fill(TEMPLATE, names), _settings(clip_model.transformer.layers)))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("transformer.resblocks."))
    settings, dtype = _settings(layers), weights["text_projection"].dtype
    tokens = token_ids(weights, TEMPLATE, names)
    reference = PlainMMA(weights, tokens, settings.adapter_start, settings.adapter_end, settings.adapter_scale)
    return plain_of(reference, learned, dtype)


def plain_of(reference: Any, learned: Learned, dtype: torch.dtype) -> Side:
    """The side of a reference with features of ``learned`` and a logit scale, in the dtype of its weights."""

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        f = reference.image_features(cast(), images.to(dtype))
        return (reference.logit_scale * f @ class_features.t()).float().softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(dtype), labels),
        lambda: reference.text_features(cast()),
        scores,
    )
