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

from .shared.clip import PlainCLIP, causal
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
        return self.text_features(learned["ctx"])

    def text_features(self, ctx: Tensor) -> Tensor:
        """w ``[C, d]`` of one context."""
        x = prompts(self.embedded, self.names, ctx.expand(len(self.tokens), -1, -1), self.position)
        return encode(self.clip, x, self.tokens.argmax(dim=-1))


def prompts(words: Tensor, lengths: list[int], ctx: Tensor, position: str) -> Tensor:
    """Return embeddings [C, 77, d_t] of prompts with contexts [C, M, d_t]: of all at once, if the names stand behind.

    ``words`` [C, 77, d_t] are those of "SOS, M placeholders, name, rest", ``lengths`` the names' numbers of tokens.
    """
    m = ctx.shape[1]
    if position == "end":
        return torch.cat([words[:, :1], ctx, words[:, 1 + m :]], dim=1)
    before, rows = 0 if position == "front" else m // 2, []
    for row, length, own in zip(words, lengths, ctx, strict=True):
        start, name, rest = row.split([1 + m, length, 76 - m - length])
        rows.append(torch.cat([start[:1], own[:before], name, own[before:], rest]))
    return torch.stack(rows)


def encode(clip: PlainCLIP, x: Tensor, eot: Tensor) -> Tensor:
    """Return unit features [C, d] of embeddings [C, 77, d_t], read at EOT."""
    x = x + clip.weights["positional_embedding"]
    mask = causal(x.shape[1], x)
    for block in clip.text_blocks:
        x = block(x, mask)
    return clip.read_text(x, eot)


class PlainBesideCLIP(PlainCoOp):
    """CoOp beside a second CLIP; ``fixed`` ``[C, d]`` are that one's features of ``template_tokens`` ``[C, 77]``."""

    def __init__(self, *prompts: Any, template_tokens: Tensor):
        super().__init__(*prompts)
        self.teacher = PlainCLIP(self.clip.weights)
        with torch.no_grad():
            self.fixed = self.teacher.text_feature(template_tokens)


def context_of(cfg: Any) -> Context:
    """Return what a run of the method learns, and where it stands."""
    return trainers.load(cfg.TRAINER.NAME).context_of(cfg)


def prompts_of(weights: Weights, names: list[str], context: Context) -> tuple[Tensor, list[int], str]:
    """Return token ids [C, 77] of the prompts with a context, the names' lengths in tokens, and their place."""
    return token_ids(weights, f"{context.text} {{}}.", names), name_lengths(names), context.position


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainCoOp:
    """Build the equations."""
    return PlainCoOp(weights, *prompts_of(weights, names, context_of(cfg)))


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
