"""CoOp, plainly: 77 positions for every class in every step.

Written from the paper's equations and the official layout: a prompt's embeddings are SOS, then the learned vectors and
the name in the order of the position, then the rest of the tokenised text.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import trainers
from reference import Reference
from trainers.shared.context import Context, initial_vectors
from trainers.shared.cosine import clip_image_features

from .shared.clip import causal
from .shared.numbers import Numbers
from .shared.official import BASE, COOP, TEXT, Command, Official, around
from .shared.plain import Learned, Plain, Weights, name_lengths, token_ids

POSITIONS = "end", "middle", "front"
IDLE = "TRAINER.{}.CTX_INIT makes {} vectors, of {!r}: TRAINER.{}.N_CTX {} has no effect"


class PlainCoOp(Plain):
    """Loss and scores; ``learned["ctx"]`` is ``[M, d_t]`` or ``[C, M, d_t]``.

    ``tokens`` ``[C, 77]`` are "SOS, M placeholders, name, rest"; ``names`` are the names' lengths in tokens.
    """

    def __init__(self, weights: Weights, tokens: Tensor, names: list[int], position: str = "end"):
        super().__init__(weights)
        self.tokens, self.names, self.position = tokens, names, position
        self.embedded = weights["token_embedding.weight"][tokens]

    def class_features(self, learned: Learned) -> Any:
        """w ``[C, d]``."""
        return self.text_features(learned["ctx"])

    def text_features(self, ctx: Tensor) -> Tensor:
        """w ``[C, d]`` of one context."""
        x = self.prompts(ctx.expand(len(self.tokens), -1, -1)) + self.clip.weights["positional_embedding"]
        mask = causal(x.shape[1], x)
        for block in self.clip.text_blocks:
            x = block(x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def prompts(self, ctx: Tensor) -> Tensor:
        """The embeddings ``[C, 77, d_t]`` with contexts ``[C, M, d_t]``: all classes at once, if names stand behind."""
        if self.position == "end":
            return torch.cat([self.embedded[:, :1], ctx, self.embedded[:, 1 + ctx.shape[1] :]], dim=1)
        return torch.stack([self.row(*each) for each in zip(self.embedded, self.names, ctx, strict=True)])

    def row(self, embedded: Tensor, length: int, ctx: Tensor) -> Tensor:
        """The embeddings ``[77, d_t]`` of one class, whose name stands in the middle or in front."""
        m = len(ctx)
        start, name, rest = embedded.split([1 + m, length, 76 - m - length])
        before = 0 if self.position == "front" else m // 2
        return torch.cat([start[:1], ctx[:before], name, ctx[before:], rest])


def context_of(cfg: Any) -> Context:
    """Return what a run of the method learns, and where it stands."""
    return trainers.load(cfg.TRAINER.NAME).context_of(cfg)


def prompts_of(weights: Weights, names: list[str], context: Context) -> tuple[Tensor, list[int]]:
    """Return token ids [C, 77] of the prompts with a context, and the names' lengths in tokens."""
    return token_ids(weights, f"{context.text} {{}}.", names), name_lengths(names)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainCoOp:
    """Build the equations."""
    context = context_of(cfg)
    return PlainCoOp(weights, *prompts_of(weights, names, context), context.position)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose words or a number of vectors, where they stand, and whether each class has its own."""
    words = pick(["", "", "a photo of a", "X_of"])
    return {
        "TRAINER.COOP.CTX_INIT": words,
        "TRAINER.COOP.N_CTX": pick(range(1, 6)),
        "TRAINER.COOP.CLASS_TOKEN_POSITION": pick(POSITIONS),
        "TRAINER.COOP.CSC": not words and pick([False, True]),
    }


class Golden(Numbers):
    """The initial context, image features, and the cross-entropy."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, found = self.model, super().before()
        start = initial_vectors(model.clip_model, model.prompts.context, len(self.setting["classes"]))
        found |= {f"init/{self.prefix}ctx": start, "image_features": clip_image_features(model.clip_model, self.images)}
        return found | {"loss/ce": F.cross_entropy(found["logits"], self.labels)}


BOUNDS = {"eval_logits": 5e-4, "final": 5e-4, "cosine": 1e-3, "init": 0.0}

CoOp = Reference(
    plain,
    draw=draw,
    bench={"TRAINER.COOP.CTX_INIT": "a photo of a"},
    toy={"TRAINER.COOP.N_CTX": 6},
    numbers=Golden,
    bounds=BOUNDS,
    checkpoints=(Official("vit_b16_ctxv1", "prompt_learner", 200, {"ctx": (4, TEXT)}, around(4)),),
    commands=(
        Command("rn50_ep50", COOP.format(16, "", 1), ("COOP.N_CTX", 16)),
        Command("rn50", COOP.format(16, "", 16).replace("CSC False", "CSC True"), ("COOP.CSC", True)),
        Command("vit_b16_ctxv1", BASE, ("COOP.CTX_INIT", "a photo of a")),
    ),
    words="TRAINER.COOP.CTX_INIT",
    idle=("TRAINER.COOP.CTX_INIT", "a photo of a", IDLE.format("COOP", 4, "a photo of a", "COOP", 6)),
)
