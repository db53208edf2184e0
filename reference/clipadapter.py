"""CLIP-Adapter, plainly: the constant text is encoded at every step, as in the authors' file."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.cosine import frozen_features, l2_normalize
from trainers.shared.templates import template_of

from .shared.numbers import WithImages
from .shared.official import BASE, JOINT, Command, Official
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainCLIPAdapter(Plain):
    """z = r A(f) + (1 - r) f, both sides normalised, logits times exp(logit_scale)."""

    def __init__(self, weights: Weights, tokens: Tensor, ratio: float):
        super().__init__(weights)
        self.tokens, self.ratio = tokens, ratio

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        """z ``[B, d]``, of unit length."""
        f = self.clip.raw_image_feature(images)
        hidden = torch.relu(f @ learned["fc.0.weight"].t())
        adapted = torch.relu(hidden @ learned["fc.2.weight"].t())
        return F.normalize(self.ratio * adapted + (1 - self.ratio) * f, dim=-1)

    def class_features(self, learned: Learned) -> Tensor:
        return self.clip.text_feature(self.tokens)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainCLIPAdapter:
    """Build the equations."""
    return PlainCLIPAdapter(weights, token_ids(weights, template_of(cfg), names), cfg.TRAINER.CLIPADAPTER.RATIO)


class Golden(WithImages):
    """Image features, adapted and as frozen CLIP has them."""

    def before(self) -> dict[str, Tensor]:
        raw = frozen_features(self.model.clip_model, self.images)
        return super().before() | {"image_features_clip": l2_normalize(raw), "image_features_clip_raw": raw}


LEARNED = {"fc.0.weight": (8, JOINT), "fc.2.weight": (JOINT, 8)}
STEM = "vit_b16_c4_ep200_batch32"

CLIPAdapter = Reference(
    plain,
    draw=lambda pick, vision, text: {
        "TRAINER.CLIPADAPTER.RATIO": pick([0.0, 0.2, 0.7, 1.0]),
        "TRAINER.CLIPADAPTER.REDUCTION": pick(range(1, 17)),
    },
    numbers=Golden,
    checkpoints=(Official(STEM, "clip_adapter", 200, LEARNED, dtype=torch.float32),),
    commands=(Command(STEM, BASE, ("CLIPADAPTER.RATIO", 0.2), trainer="CLIP_Adapter"),),
)
