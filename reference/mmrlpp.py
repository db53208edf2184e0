"""MMRL++, plainly: MMRL's reference with shared maps, a residual in the projection and mixed tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.templates import template_of

from . import mmrl
from .shared.clip import causal
from .shared.official import BASE, JOINT, TEXT, VISION, Command, Shapes
from .shared.plain import Learned, Weights, token_ids


class PlainMMRLpp(mmrl.PlainMMRL):
    """Loss and scores from the learned tensors by name; every token in every layer. ``beta`` mixes tokens."""

    def __init__(self, *args: Any, beta: float, **how: Any):
        super().__init__(*args, **how)
        self.beta = beta

    def rep_tokens(self, learned: Learned, modality: str, layer: int) -> Tensor:
        """(W + A_i B_i) R + b_i, ``[K, d_modality]``."""
        name = f"representation_learner.srra_r2{modality}proj"
        own = f"{name}.srra.{layer - self.first[modality]}"
        weight = learned[f"{name}.weight"] + learned[f"{own}.A"] @ learned[f"{own}.B"]
        return F.linear(learned["representation_learner.compound_rep_tokens"], weight, learned[f"{own}.bias"])

    def put(self, learned: Learned, modality: str, layer: int, x: Tensor) -> Tensor:
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

    def image_features(self, learned: Learned, images: Tensor) -> tuple[Tensor, Tensor]:
        x, weights = self.clip.embed_images(images), self.clip.weights
        for layer, block in enumerate(self.clip.image_blocks, start=1):
            x = block(self.put(learned, "v", layer, x))
        x = self.clip.norm("visual.ln_post", x)
        count = len(learned["representation_learner.compound_rep_tokens"])
        f_c = x[:, 0] @ weights["visual.proj"]
        projection = weights["visual.proj"] + learned["image_encoder.A"] @ learned["image_encoder.B"]
        f_r = x[:, 1 : 1 + count].mean(dim=1) @ projection
        return F.normalize(f_c, dim=-1), F.normalize(f_r, dim=-1)

    def class_features(self, learned: Learned) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        for layer, block in enumerate(self.clip.text_blocks, start=1):
            x = self.put(learned, "t", layer, x)
            x = block(x, causal(x.shape[1], x))
        count = len(learned["representation_learner.compound_rep_tokens"])
        return self.clip.read_text(x, self.tokens.argmax(dim=-1) + count)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainMMRLpp:
    """Build the equations."""
    node = cfg.TRAINER.MMRLpp
    tokens, (first, text_first) = token_ids(weights, template_of(cfg), names), mmrl.first_layers(weights, node)
    numbers = first, node.ALPHA, node.REG_WEIGHT, text_first
    return PlainMMRLpp(weights, tokens, *numbers, fusion=node.FUSION, beta=node.BETA)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose what MMRL has, beta at its limits, and both ranks."""
    return {
        **mmrl.draw(pick, vision, text, "MMRLpp"),
        "TRAINER.MMRLpp.BETA": pick([0.0, 0.3, 0.9, 1.0]),
        "TRAINER.MMRLpp.RES_LORA_DIM": pick([1, 3]),
        "TRAINER.MMRLpp.PROJ_LORA_DIM": pick([1, 4]),
    }


def _shared_map(name: str, width: int) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (width, 512)}
    for i in range(7):
        shapes |= {f"{name}.srra.{i}.A": (width, 4), f"{name}.srra.{i}.B": (4, 512), f"{name}.srra.{i}.bias": (width,)}
    return shapes


PROJECTION: Shapes = {"image_encoder.A": (VISION, 64), "image_encoder.B": (64, JOINT)}

MMRLpp = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.MMRLpp.REP_LAYERS": [2, 3], "TRAINER.MMRLpp.REP_DIM": 16},
    unseen=True,  # text maps of layers after J where beta is 0, and others where the tokens cannot matter
    numbers=mmrl.Golden,
    bounds=mmrl.BOUNDS,
    checkpoints=(mmrl.official(PROJECTION, _shared_map("srra_r2vproj", VISION) | _shared_map("srra_r2tproj", TEXT)),),
    commands=(Command("vit_b16", f"{BASE} TASK B2N", ("MMRLpp.BETA", 0.6)),),
    never_drawn=r".*\.B",
    clips_built=2,
)
