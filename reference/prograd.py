"""ProGrad, plainly: two gradients in turn, as the official code takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.prograd import TEMPLATES
from trainers.shared.cosine import cosine_logits
from trainers.shared.templates import template_of

from . import coop
from .shared.official import COOP, TEXT, Command, Official, around
from .shared.plain import Learned, Weights, token_ids
from .shared.recipe import arrays_of


class PlainProGrad(coop.PlainBesideCLIP):
    """CoOp whose gradient loses its part against that of the distance to the second CLIP's predictions."""

    def __init__(self, *prompts: Any, template_tokens: Tensor, temperature: float, strength: float):
        super().__init__(*prompts, template_tokens=template_tokens)
        self.temperature, self.strength = temperature, strength

    def losses(self, learned: Learned, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and T^2 mean(-sum softmax(t / T) log softmax(s / T))."""
        s, t = self.logits(learned, images), self.temperature
        with torch.no_grad():
            target = (self.scale * self.teacher.image_feature(images) @ self.fixed.t() / t).softmax(dim=1)
        distance = -(target * (s / t).log_softmax(dim=1)).sum(dim=1).mean() * t**2
        return F.cross_entropy(s, labels), distance

    def gradients(self, learned: Learned, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The cross-entropy, and both gradients of the context."""
        cross_entropy, distance = self.losses(learned, images, labels)
        (g_b,) = torch.autograd.grad(distance, learned["ctx"], retain_graph=True)
        (g_a,) = torch.autograd.grad(cross_entropy, learned["ctx"])
        return cross_entropy.detach(), g_a, g_b

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy, with the projected gradient for its own."""
        value, g_a, g_b = self.gradients(learned, images, labels)
        unit_a, unit_b = g_a / g_a.norm(), g_b / g_b.norm()
        g = g_a - self.strength * (g_a * unit_b).sum() * unit_b if (unit_a * unit_b).sum() < 0 else g_a
        slope = (g * learned["ctx"]).sum()
        return value + slope - slope.detach()


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainProGrad:
    """Build the equations."""
    template, prompts = template_of(cfg, TEMPLATES), coop.prompts_of(weights, names, coop.context_of(cfg))
    tokens, (t, strength) = token_ids(weights, template, names), (cfg.LOSS.T, cfg.LOSS.LAMBDA)
    return PlainProGrad(weights, *prompts, template_tokens=tokens, temperature=t, strength=strength)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose whether words start the vectors, which then stand at the end; their number and place; both numbers."""
    words = pick([False, True])
    return {
        **({"DATASET.TEMPLATE": pick(["", "my {}."])} if words else {}),  # in which they stand before the name
        "TRAINER.COOP.CTX_INIT": words,
        "TRAINER.COOP.N_CTX": pick(range(8, 10) if words else range(1, 6)),
        "TRAINER.COOP.CLASS_TOKEN_POSITION": "end" if words else pick(coop.POSITIONS),
        "TRAINER.COOP.CSC": not words and pick([False, True]),
        "LOSS.T": 2.0,
        "LOSS.LAMBDA": 0.8,
    }


class Golden(coop.Golden):
    """CoOp's arrays, those of the teacher, and both gradients before each step."""

    def before(self) -> dict[str, Tensor]:
        model, found = self.model, super().before()
        of_clip = cosine_logits(model.clip_model, found["image_features"], model.text_features_clip)
        return found | {"text_features_clip": model.text_features_clip, "logits_clip": of_clip}

    def train(self) -> dict[str, np.ndarray]:
        """Both losses and gradients of the first step; the distance, and the gradients' cosine, before each."""
        self.seen: dict[str, Any] = {}
        self.distances: list[float] = []
        self.cosines: list[float] = []
        arrays = super().train() | arrays_of(self.seen)
        return arrays | {"losses_kl": np.array(self.distances), "cosine": np.array(self.cosines)}

    def before_step(self, step: int) -> None:
        """Look at both gradients."""
        model = self.model
        w = model.class_features()
        ours, to_clip, _ = model.losses(self.images, self.labels, w, w)
        (g_b,) = torch.autograd.grad(to_clip, model.ctx, retain_graph=True)
        (g_a,) = torch.autograd.grad(ours, model.ctx)
        self.distances.append(to_clip.item())
        self.cosines.append(F.cosine_similarity(g_a.flatten(), g_b.flatten(), dim=0).item())
        if step == 0:
            self.seen = {"loss/xe": ours, "loss/kl": to_clip}
            self.seen |= {f"grad_xe/{self.prefix}ctx": g_a, f"grad_kl/{self.prefix}ctx": g_b}


def off_clips_words(model: Any) -> None:
    """Move the context off the template's words: there the distance to CLIP has no slope, only rounding."""
    model.ctx.data.add_(0.01 * torch.randn_like(model.ctx))


COMMAND = f"{COOP.format(16, '', 4)} LOSS.NAME prograd LOSS.LAMBDA 0.8"

ProGrad = Reference(
    plain,
    draw=draw,
    bench={"TRAINER.COOP.CTX_INIT": True},
    toy={"TRAINER.COOP.N_CTX": 6},
    ready=off_clips_words,
    numbers=Golden,
    bounds=coop.BOUNDS,
    checkpoints=(Official("vit_b16_ep100", "prompt_learner", 100, {"ctx": (16, TEXT)}, around(16)),),
    commands=(Command("rn50_ep100", COMMAND, ("COOP.CTX_INIT", True)),),
    clips_built=2,
    switch="TRAINER.COOP.CTX_INIT",
)
