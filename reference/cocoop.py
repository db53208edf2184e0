"""CoCoOp, plainly: image by image, as the official code does."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.context import Context

from . import coop
from .shared.official import BASE, JOINT, TEXT, Command, Official, around, linear
from .shared.plain import Learned, Weights


class PlainCoCoOp(coop.PlainCoOp):
    """Image by image: the context plus a shift from the image's feature by a network with one hidden layer."""

    def image_text_features(self, learned: Learned, f: Tensor) -> Tensor:
        """w ``[C, d]`` for one image feature ``[d]``."""
        hidden = F.linear(f, learned["meta_net.linear1.weight"], learned["meta_net.linear1.bias"]).relu()
        shift = F.linear(hidden, learned["meta_net.linear2.weight"], learned["meta_net.linear2.bias"])
        return self.text_features(learned["ctx"] + shift)

    def class_features(self, learned: Learned) -> None:
        """There are none before there is an image."""

    def scores(self, learned: Learned, images: Tensor, class_features: None, seen: bool = True) -> Tensor:
        features = self.image_features(learned, images)
        return torch.stack([self.scale * f @ self.image_text_features(learned, f).t() for f in features])


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainCoCoOp:
    """Build the equations."""
    node = cfg.TRAINER.COCOOP
    return PlainCoCoOp(weights, *coop.prompts_of(weights, names, Context.of(node.CTX_INIT, node.N_CTX)))


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose words or a number of vectors."""
    return {
        "TRAINER.COCOOP.CTX_INIT": pick(["", "", "a photo of a", "X_of"]),
        "TRAINER.COCOOP.N_CTX": pick(range(1, 6)),
    }


class Golden(coop.Golden):
    """CoOp's arrays, the meta-net's, and text features of each image."""

    def before(self) -> dict[str, Tensor]:
        model, found = self.model, super().before()
        f = found["image_features"]
        found |= {"meta_hidden_pre": model.meta_net.linear1(f), "meta_out": model.meta_net(f)}
        return found | {"text_features": model.prompts.features(model.contexts(f))}


LEARNED = {"ctx": (4, TEXT), **linear("meta_net.linear1", JOINT, 2), **linear("meta_net.linear2", 2, TEXT)}

CoCoOp = Reference(
    plain,
    draw=draw,
    bench={"TRAINER.COCOOP.CTX_INIT": "a photo of a"},
    numbers=Golden,
    bounds=coop.BOUNDS,
    checkpoints=(Official("vit_b16_c4_ep10_batch1_ctxv1", "prompt_learner", 10, LEARNED, around(4)),),
    commands=(Command("vit_b16_c4_ep10_batch1_ctxv1", BASE, ("COCOOP.CTX_INIT", "a photo of a")),),
    never_drawn="ctx",
    words="TRAINER.COCOOP.CTX_INIT",
    idle=("TRAINER.COCOOP.CTX_INIT", "a_photo", coop.IDLE.format("COCOOP", 2, "a photo", "COCOOP", 16)),
)
