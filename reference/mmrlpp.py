"""MMRL++, plainly: MMRL's reference with shared maps, a residual in the projection and mixed tokens."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.templates import template_of

from . import mmrl
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

    def mix(self, rep: Tensor, outputs: Tensor) -> Tensor:
        """beta R_i + (1 - beta) (what the layer before made of them)."""
        return self.beta * rep + (1 - self.beta) * outputs

    def projection(self, learned: Learned) -> Tensor:
        """CLIP's own projection plus A B."""
        return self.clip.weights["visual.proj"] + learned["image_encoder.A"] @ learned["image_encoder.B"]


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
