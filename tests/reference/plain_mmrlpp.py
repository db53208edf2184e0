"""MMRL++, plainly: MMRL's reference with shared maps, a residual in the projection and mixed tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import causal
from tests.reference.plain_mmrl import PlainMMRL


class PlainMMRLpp(PlainMMRL):
    """Loss and scores from the learned tensors by name; every token in every layer. ``beta`` mixes tokens."""

    def __init__(self, *args: Any, beta: float, **how: Any):
        super().__init__(*args, **how)
        self.beta = beta

    def rep_tokens(self, learned: dict[str, Tensor], modality: str, layer: int) -> Tensor:
        """(W + A_i B_i) R + b_i, ``[K, d_modality]``."""
        name = f"representation_learner.srra_r2{modality}proj"
        own = f"{name}.srra.{layer - self.first[modality]}"
        weight = learned[f"{name}.weight"] + learned[f"{own}.A"] @ learned[f"{own}.B"]
        return F.linear(learned["representation_learner.compound_rep_tokens"], weight, learned[f"{own}.bias"])

    def put(self, learned: dict[str, Tensor], modality: str, layer: int, x: Tensor) -> Tensor:
        """The input of a layer: tokens enter before layer J, and are mixed with their outputs before later ones."""
        first = self.first[modality]
        if layer < first:
            return x
        rep = self.rep_tokens(learned, modality, layer).expand(len(x), -1, -1)
        if layer == first:
            return torch.cat([x[:, :1], rep, x[:, 1:]], dim=1)
        count = rep.shape[1]
        mixed = self.beta * rep + (1 - self.beta) * x[:, 1 : 1 + count]
        return torch.cat([x[:, :1], mixed, x[:, 1 + count :]], dim=1)

    def image_features(self, learned: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        x, weights = self.clip.embed_images(images), self.clip.weights
        for layer, block in enumerate(self.clip.image_blocks, start=1):
            x = block(self.put(learned, "v", layer, x))
        x = self.clip.norm("visual.ln_post", x)
        count = len(learned["representation_learner.compound_rep_tokens"])
        f_c = x[:, 0] @ weights["visual.proj"]
        projection = weights["visual.proj"] + learned["image_encoder.A"] @ learned["image_encoder.B"]
        f_r = x[:, 1 : 1 + count].mean(dim=1) @ projection
        return F.normalize(f_c, dim=-1), F.normalize(f_r, dim=-1)

    def text_features(self, learned: dict[str, Tensor]) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        for layer, block in enumerate(self.clip.text_blocks, start=1):
            x = self.put(learned, "t", layer, x)
            x = block(x, causal(x.shape[1], x))
        count = len(learned["representation_learner.compound_rep_tokens"])
        return self.clip.read_text(x, self.tokens.argmax(dim=-1) + count)
