"""PLOT++, plainly, from its equations: every view a whole image sequence, every prompt of every class 77 positions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.plot import PHRASES
from trainers.plot.method import GENERAL

from .shared.clip import causal
from .shared.numbers import Numbers
from .shared.official import CLASSES, TEXT, VISION, Command, Official, around, whole_clip
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainPLOT(Plain):
    """Logits and loss from the learned tensors by name; ``tokens`` ``[N, C, 77]`` hold phrase, name and full stop."""

    def __init__(
        self,
        weights: Weights,
        tokens: Tensor,
        trade_off: bool = False,
        eps: float = 0.1,
        max_iter: int = 100,
        thresh: float = 0.01,
    ):
        super().__init__(weights)
        self.tokens, self.trade_off = tokens, trade_off
        self.words = weights["token_embedding.weight"][tokens.flatten(0, 1)]
        self.eps, self.max_iter, self.thresh = eps, max_iter, thresh

    def views(self, learned: Learned, images: Tensor) -> Tensor:
        """``[M, B, d]``, not normalised."""
        behind = self.clip.norm("visual.ln_pre", learned["prompt_learner.ctx_vision"])
        x = self.clip.embed_images(images).repeat(len(behind), 1, 1)
        x = torch.cat([x, behind.repeat_interleave(len(images), dim=0)], dim=1)
        for block in self.clip.image_blocks:
            x = block(x)
        last = self.clip.norm("visual.ln_post", x[:, 0]) @ self.clip.weights["visual.proj"]
        return last.unflatten(0, (len(behind), -1))

    def class_features(self, learned: Learned) -> Tensor:
        """``[N, C, d]``, not normalised; the context replaces what stands behind SOS, as far as it reaches."""
        weights, ctx = self.clip.weights, learned["prompt_learner.ctx"]
        words, tokens = self.words, self.tokens.flatten(0, 1)
        middle = ctx.repeat_interleave(self.tokens.shape[1], dim=0)
        x = torch.cat([words[:, :1], middle, words[:, 1 + ctx.shape[1] :]], dim=1) + weights["positional_embedding"]
        for block in self.clip.text_blocks:
            x = block(x, causal(x.shape[1], x))
        last = self.clip.norm("ln_final", x[torch.arange(len(x)), tokens.argmax(dim=-1)]) @ weights["text_projection"]
        return last.unflatten(0, (len(ctx), -1))

    def plan(self, cosines: Tensor) -> Tensor:
        """T ``[B, C, M, N]`` with diag(r) K diag(c)."""
        kernel = torch.exp(-(1 - cosines) / self.eps)
        m, n = kernel.shape[-2:]
        r, c = (torch.ones(*kernel.shape[:2], count, dtype=kernel.dtype, device=kernel.device) for count in (m, n))
        for _ in range(self.max_iter):
            before = r
            r = (1 / m) / torch.einsum("bcmn,bcn->bcm", kernel, c)
            c = (1 / n) / torch.einsum("bcmn,bcm->bcn", kernel, r)
            if (r - before).abs().mean() < self.thresh:
                break
        return torch.diag_embed(r) @ kernel @ torch.diag_embed(c)

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        views, texts = self.views(learned, images), class_features
        f, w = F.normalize(views, dim=-1), F.normalize(texts, dim=-1)
        cosines = torch.einsum("mbd,ncd->bcmn", f, w)
        scores = self.scale * (self.plan(cosines.detach()) * cosines).sum(dim=(2, 3))
        if self.trade_off:
            g, t = F.normalize(views.mean(dim=0), dim=-1), F.normalize(texts.mean(dim=0), dim=-1)
            scores = scores + self.scale * g @ t.t()
        return scores


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainPLOT:
    """Build the equations."""
    node = cfg.TRAINER.PLOTPP
    phrases = PHRASES.get("ImageNet" if cfg.TASK == "CD" else cfg.DATASET.NAME, GENERAL)[: node.N]
    tokens = torch.stack([token_ids(weights, f"{phrase} {{}}.", names) for phrase in phrases])
    return PlainPLOT(weights, tokens, node.TRADE_OFF, node.EPS, node.MAX_ITER, node.THRESH)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose the stage, and the numbers of prompts, views and tokens."""
    stage, trade_off = pick([("joint", False), ("vision", True), ("joint", True)])
    return {
        "TRAINER.PLOTPP.MODEL_UPD": stage,
        "TRAINER.PLOTPP.TRADE_OFF": trade_off,
        "TRAINER.PLOTPP.N": pick(range(1, 5)),
        "TRAINER.PLOTPP.M": pick(range(1, 4)),
        "TRAINER.PLOTPP.N_CTX_V": pick(range(1, 4)),
    }


class Golden(Numbers):
    """Features of views and prompts, and the transport plans."""

    def before(self) -> dict[str, Tensor]:
        image, text = self.model.image(self.images), self.model.class_features()
        return {
            "logits": self.model.logits(image, text),
            "image_features": image.each,
            "image_features_pool": image.mean,
            "text_features": text.each,
            "text_features_pool": text.mean,
            "transport": self.model.sinkhorn.plan(self.model.cosines(image, text)),
        }


LEARNED = {"prompt_learner.ctx": (4, 4, TEXT), "prompt_learner.ctx_vision": (4, 2, VISION)}
AROUND = around(4, "prompt_learner.", 4 * CLASSES)
COMMAND = (
    "TRAINER.PLOTPP.N_CTX 4 TRAINER.PLOTPP.CSC False TRAINER.PLOTPP.CLASS_TOKEN_POSITION end DATASET.NUM_SHOTS 16 "
    "TRAINER.PLOTPP.N 4 TRAINER.PLOTPP.MODEL_UPD vision TRAINER.PLOTPP.TRADE_OFF True"
)

PLOT = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.PLOTPP.M": 2},
    numbers=Golden,
    bounds={"eval_logits": 5e-4},
    checkpoints=(
        Official("vit", "prompt_learner", 200, LEARNED, AROUND, whole_clip),
        Official("vit_ep50", "prompt_learner", 50, LEARNED, AROUND, lambda: whole_clip("text_encoder.module")),
    ),
    commands=(Command("vit", COMMAND, ("PLOTPP.MODEL_UPD", "vision"), trainer="PLOTPP"),),
    never_drawn=r"prompt_learner\.ctx",
    switch="TRAINER.PLOTPP.CTX_INIT",
)
