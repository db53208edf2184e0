"""KgCoOp, plainly: CoOp, and a second CLIP that the prompts are held to."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.kgcoop import TEMPLATES
from trainers.shared.cosine import cosine_distance
from trainers.shared.templates import template_of

from . import coop
from .shared.official import COOP, TEXT, Command, Official, around, linear
from .shared.plain import Learned, Weights, token_ids


class PlainKgCoOp(coop.PlainBesideCLIP):
    """CoOp and W (1 - mean cos(w_c, z_c)); z_c is the second CLIP's feature."""

    def __init__(self, *prompts: Any, template_tokens: Tensor, weight: float):
        super().__init__(*prompts, template_tokens=template_tokens)
        self.weight = weight

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """The text side is computed once for both terms, as in the official code."""
        w = self.class_features(learned)
        cross_entropy = F.cross_entropy(self.scores(learned, images, w), labels)
        return cross_entropy + self.weight * (1 - F.cosine_similarity(w, self.fixed).mean())


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainKgCoOp:
    """Build the equations."""
    template, prompts = template_of(cfg, TEMPLATES), coop.prompts_of(weights, names, coop.context_of(cfg))
    tokens = token_ids(weights, template, names)
    return PlainKgCoOp(weights, *prompts, template_tokens=tokens, weight=cfg.TRAINER.COOP.W)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose whether words start the vectors, their number and place, and the weight."""
    words = pick([False, False, True])
    return {
        "TRAINER.COOP.CTX_INIT": words,
        "TRAINER.COOP.N_CTX": pick(range(1, 6)),
        "TRAINER.COOP.CLASS_TOKEN_POSITION": pick(coop.POSITIONS),
        "TRAINER.COOP.CSC": not words and pick([False, True]),
        "TRAINER.COOP.W": 8.0,
    }


class Golden(coop.Golden):
    """CoOp's arrays, frozen CLIP's features and the distance to them."""

    def before(self) -> dict[str, Tensor]:
        model, found = self.model, super().before()
        score = cosine_distance(found["text_features"], model.text_features_clip)
        return found | {"text_features_clip": model.text_features_clip, "loss/score": score}


BESIDE = {"bias_vectors": (1, 512), **linear("meta_net.linear1", 512, 512), **around(4)}

KgCoOp = Reference(
    plain,
    draw=draw,
    bench={"TRAINER.COOP.CTX_INIT": True, "TRAINER.COOP.W": 8.0},
    toy={"TRAINER.COOP.N_CTX": 6},
    numbers=Golden,
    bounds=coop.BOUNDS,
    checkpoints=(Official("vit_b16_ep100_ctxv1", "prompt_learner", 100, {"ctx": (4, TEXT)}, BESIDE),),
    commands=(Command("vit_b16_ep100_ctxv1", COOP.format(4, "TRAINER.COOP.W 8.0 ", 16), ("COOP.W", 8.0)),),
    clips_built=2,
    switch="TRAINER.COOP.CTX_INIT",
    idle=("TRAINER.COOP.CTX_INIT", True, coop.IDLE.format("COOP", 4, "a photo of a", "COOP", 6)),
)
