"""ProDA, plainly, from its equations: every prompt of every class 77 positions, the covariances as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.context import placeholders

from .coop import encode, prompts
from .shared.official import BASE, TEXT, Command, Official, around
from .shared.plain import Learned, Plain, Weights, name_lengths, token_ids


class PlainProDA(Plain):
    """Loss and logits from ``ctx`` ``[K, n, d_t]``.

    Args:
        weights: CLIP's state dict.
        tokens: ids ``[C, 77]`` of n placeholders, name and full stop; ``lengths`` holds the names' numbers of tokens.
        nameless: ids ``[1, 77]`` of n placeholders and full stop.
        apart: weight of the cosines.
        at_once: prompts in a step (``spread``).
    """

    def __init__(
        self, weights: Weights, tokens: Tensor, lengths: list[int], nameless: Tensor, apart: float, at_once: int
    ):
        super().__init__(weights)
        self.tokens, self.lengths, self.nameless, self.apart = tokens, lengths, nameless, apart
        self.at_once = at_once
        embeddings = weights["token_embedding.weight"]
        self.words, self.nameless_words = embeddings[tokens], embeddings[nameless]

    def text(self, ctx: Tensor, which: Sequence[int]) -> Tensor:
        """Unit features ``[k, C, d]`` of some prompts, by number."""
        quarter, classes = len(ctx) // 4, len(self.tokens)
        places = ["front" if k < quarter else "middle" if k < 2 * quarter else "end" for k in which]
        contexts = (ctx[k].expand(classes, -1, -1) for k in which)
        rows = [prompts(self.words, self.lengths, *pair) for pair in zip(contexts, places, strict=True)]
        w = encode(self.clip, torch.cat(rows), self.tokens.argmax(dim=-1).repeat(len(rows)))
        return w.unflatten(0, (len(rows), classes))

    def training_scores(self, learned: Learned, images: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        """The logits ``[B, C]`` of the bound with the step's prompts."""
        return self.bound(learned, images, labels)

    def bound(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """The logits ``[B, C]`` whose cross-entropy the loss has."""
        ctx = learned["ctx"]
        which = spread(len(ctx), self.at_once)
        f = self.clip.image_feature(images).detach()
        w = self.text(ctx, which)
        mean = w.mean(dim=0)
        deviation = w - mean
        covariance = torch.einsum("kid,kjd->ijd", deviation, deviation) / (len(which) + 1)
        own = covariance.diagonal().t()  # [C, d]
        sigma = ((own[labels][:, None] + own - 2 * covariance[labels]) * f.square()[:, None]).sum(dim=-1)
        return self.scale * f @ mean.t() + 0.5 * self.scale**2 * sigma

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the bound, and the weighted mean of the cosines of all prompts."""
        return F.cross_entropy(self.bound(learned, images, labels), labels) + self.apart * self.cosines(learned["ctx"])

    def cosines(self, ctx: Tensor) -> Tensor:
        """The mean of |cos(h_k, h_l)| over k != l, h without a class name."""
        count = len(ctx)
        x = prompts(self.nameless_words.expand(count, -1, -1), [0] * count, ctx, "end")
        h = encode(self.clip, x, self.nameless.argmax(dim=-1).expand(count))
        return (h @ h.t()).fill_diagonal_(0).abs().sum() / max(1, count * (count - 1))

    def class_features(self, learned: Learned) -> Tensor:
        """``[C, d]``: the mean of all prompts, not normalised."""
        ctx = learned["ctx"]
        return self.text(ctx, range(len(ctx))).mean(dim=0)


def spread(count: int, at_once: int) -> list[int]:
    """Return the prompts of the compared step, by number, over all places of the name; the last first."""
    return list(range(count - count // at_once, -1, -(count // at_once)))


def ready(model: Any) -> None:
    """Choose the step's prompts."""
    model.chosen = spread(len(model.ctx), model.at_once)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainProDA:
    """Build the equations."""
    node = cfg.TRAINER.PRODA
    tokens, nameless = (token_ids(weights, f"{placeholders(node.N_CTX)} {{}}.", texts) for texts in (names, [""]))
    return PlainProDA(weights, tokens, name_lengths(names), nameless, node.LAMBDA, node.PROMPT_BS)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose how many prompts there are and how many a step has, their length, and the weight of the cosines."""
    count = pick([1, 2, 4, 8])
    return {
        "TRAINER.PRODA.N_PROMPT": count,
        "TRAINER.PRODA.PROMPT_BS": pick([n for n in (1, 2, 4) if n <= count]),
        "TRAINER.PRODA.N_CTX": pick(range(1, 6)),
        "TRAINER.PRODA.LAMBDA": pick([0.0, 0.1, 1.0]),
    }


BESIDE = {**around(16), **{f"nc_{name}": shape for name, shape in around(16, classes=1).items()}}
STEM = "vit_b16_c16_ep100_batch4"

ProDA = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.PRODA.N_PROMPT": 4, "TRAINER.PRODA.N_CTX": 3},
    ready=ready,
    checkpoints=(Official(STEM, "prompt_learner", 100, {"ctx": (32, 16, TEXT)}, BESIDE),),  # of a third party
    commands=(Command(STEM, BASE, ("PRODA.N_PROMPT", 32)),),
    lacks={"golden": "there is no public code", "draws": "there is no public code"},
)
