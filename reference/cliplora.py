"""CLIP-LoRA, plainly: W x + s B A x for the projections that learn, in every layer, at every token of both towers.

Dropout is left out; the golden numbers have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.cliplora import OFFICIAL_FILE, LoRAAttention
from trainers.settings import PHRASE
from trainers.shared.context import clip_text_features
from trainers.shared.cosine import clip_image_features
from trainers.shared.templates import fill as filled

from .shared import official
from .shared.clip import causal
from .shared.numbers import WithImages
from .shared.plain import Learned, Plain, Weights, token_ids
from .shared.recipe import fill

TEXT, VISION = "transformer.resblocks", "visual.transformer.resblocks"


class PlainCLIPLoRA(Plain):
    """Both towers with the terms of the learned tensors by name; a projection without any has its frozen weight."""

    def __init__(self, weights: Weights, tokens: Tensor, s: float):
        super().__init__(weights)
        self.tokens, self.s = tokens, s

    def plus_term(self, learned: Learned, name: str, y: Tensor, x: Tensor) -> Tensor:
        """y + s B A x."""
        if f"{name}.w_lora_A" not in learned:
            return y
        return y + self.s * x @ learned[f"{name}.w_lora_A"].t() @ learned[f"{name}.w_lora_B"].t()

    def block(self, learned: Learned, path: str, block: Any, x: Tensor, mask: Any = None) -> Tensor:
        """A layer ``[B, N, E] -> [B, N, E]``."""
        attn, y = block.attn, block.ln_1(x)
        projected = F.linear(y, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (
            self.plus_term(learned, f"{path}.attn.{name}_proj", part, y)
            .unflatten(-1, (attn.num_heads, -1))
            .transpose(1, 2)
            for name, part in zip("qkv", projected, strict=True)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return block.feed_forward(x + self.plus_term(learned, f"{path}.attn.proj", attn.out_proj(mixed), mixed))

    def class_features(self, learned: Learned) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        mask = causal(x.shape[1], x)
        for i, block in enumerate(self.clip.text_blocks):
            x = self.block(learned, f"{TEXT}.{i}", block, x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        x = self.clip.embed_images(images)
        for i, block in enumerate(self.clip.image_blocks):
            x = self.block(learned, f"{VISION}.{i}", block, x)
        return F.normalize(self.clip.norm("visual.ln_post", x[:, 0]) @ self.clip.weights["visual.proj"], dim=-1)

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        """100 f w^T ``[B, C]``."""
        return 100 * self.image_features(learned, images) @ class_features.t()


def template_of(cfg: Any) -> str:
    """Return the template of the prompts."""
    return cfg.DATASET.TEMPLATE or f"{PHRASE} {{}}."


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainCLIPLoRA:
    """Build the equations."""
    node = cfg.TRAINER.CLIPLORA
    return PlainCLIPLoRA(weights, token_ids(weights, template_of(cfg), names), node.ALPHA / math.sqrt(node.R))


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose towers, layers, projections, rank and strength."""
    deep = ["bottom", "mid", "half-bottom"] if min(vision, text) >= 3 else []
    return {
        "TRAINER.CLIPLORA.ENCODER": pick(["both", "text", "vision"]),
        "TRAINER.CLIPLORA.POSITION": pick(["all", "half-up", "top3", *deep, "up"]),
        "TRAINER.CLIPLORA.PARAMS": pick([["q", "k", "v"], ["q"], ["v", "o"], ["k"], ["q", "k", "v", "o"]]),
        "TRAINER.CLIPLORA.R": pick([1, 2, 5]),
        "TRAINER.CLIPLORA.ALPHA": pick([1, 3]),
        "TRAINER.CLIPLORA.DROPOUT_RATE": 0.0,
    }


class Golden(WithImages):
    """Features of both towers, with what is learned and without; a step with dropout; the course of the rate."""

    def fill(self) -> None:
        """Fill what is learned; elements are dropped for the arrays of dropout alone."""
        super().fill()
        self.rates: list[float] = []
        self.set_rate(0.0)

    def set_rate(self, rate: float) -> None:
        """Set the dropout of all projections."""
        for attn in self.model.adapted.values():
            attn.rate = rate

    def before(self) -> dict[str, Tensor]:
        clip_model = self.model.clip_model
        text = clip_text_features(clip_model, filled(template_of(self.cfg), self.setting["classes"]))
        image = clip_image_features(clip_model, self.images)
        frozen = {"text_features_clip": text, "image_features_clip": image, "logits_zs": 100 * image @ text.t()}
        return super().before() | frozen | self.with_dropout()

    @torch.enable_grad()
    def with_dropout(self) -> dict[str, Tensor]:
        """Loss and norms of gradients of the first step, with the setting's masks."""
        self.set_rate(self.cfg.TRAINER.CLIPLORA.DROPOUT_RATE)
        names = {id(attn): path for path, attn in self.model.adapted.items()}
        with patch.object(LoRAAttention, "drop", lambda attn, name, x: self.masked(f"{names[id(attn)]}.{name}", x)):
            loss, _ = self.model.loss(self.images, self.labels)
        grads = torch.autograd.grad(loss, list(self.model.parameters()))
        self.set_rate(0.0)
        return {"dropout_loss0": loss, "dropout_gradnorm": torch.stack([grad.norm() for grad in grads])}

    def masked(self, name: str, x: Tensor) -> Tensor:
        """x without what the setting's mask of a projection drops; of every place in the public code's order."""
        layout, width, p = self.model.apart, x.shape[-1], self.cfg.TRAINER.CLIPLORA.DROPOUT_RATE
        if name.startswith(VISION):
            tokens = len(self.model.clip_model.visual.positional_embedding)
            keep = fill(f"dropout/{name}", (tokens, len(x), width), 12**-0.5).transpose(0, 1)[:, : x.shape[1]]
        else:
            classes = layout.rank.argsort().repeat_interleave((layout.eot - layout.starts + 1)[layout.rank.argsort()])
            keep = fill(f"dropout/{name}", (77, layout.classes, width), 12**-0.5)[layout.positions, classes][None]
            keep = keep if x.shape[1] == keep.shape[1] else keep[:, layout.sorted_eot]
        return x * (keep >= p - 0.5) / (1 - p)

    def optimizer(self) -> torch.optim.Optimizer:
        """The setting's optimiser, with its cosine per step."""
        optimizer, config = super().optimizer(), self.setting["config"]
        steps, least = config["n_iters"] * config["shots"], config["eta_min (literal)"]
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, least)
        return optimizer

    def before_step(self, step: int) -> None:
        self.rates.append(float(self.schedule.get_last_lr()[0]))

    def after_step(self) -> None:
        self.schedule.step()

    def after(self) -> dict[str, Tensor]:
        return super().after() | {"lr": torch.tensor(self.rates, dtype=torch.float64)}


def projections(tower: str, width: int) -> official.Shapes:
    """Return the learned tensors of a tower, under our names."""
    shapes = {"w_lora_A": (2, width), "w_lora_B": (width, 2)}
    return {
        f"{tower}.{i}.attn.{p}_proj.{name}": shape
        for i in range(official.LAYERS)
        for p in "qkv"
        for name, shape in shapes.items()
    }


@dataclass(frozen=True)
class LoRAFile(official.Official):
    """The release's file: attentions that learn are numbered, text first; parameters; and the settings beside them."""

    def write(self, folder: Path, strangers: official.State | None = None) -> official.State:
        """Write the file. Return the learned tensors."""
        torch.manual_seed(0)
        learned = self.tensors()
        layers: dict[str, Any] = {}
        for name, value in learned.items():
            tower, i, projection, tensor = name.replace(".attn", "").rsplit(".", 3)
            number = int(i) + (official.LAYERS if tower == VISION else 0)
            layers.setdefault(f"layer_{number}", {}).setdefault(projection, {})[tensor] = torch.nn.Parameter(value)
        metadata = {"r": 2, "alpha": 1, "encoder": "both", "params": ["q", "k", "v"], "position": "all"}
        folder.mkdir(exist_ok=True)
        torch.save({"weights": layers, "metadata": metadata}, folder / OFFICIAL_FILE)
        return learned


LEARNED = {**projections(TEXT, official.TEXT), **projections(VISION, official.VISION)}
# Masks of both sides would differ; the golden numbers have some.
WITHOUT_DROPOUT = {"TRAINER.CLIPLORA.DROPOUT_RATE": 0.0}

CLIP_LoRA = Reference(
    plain,
    draw=draw,
    bench=WITHOUT_DROPOUT,
    toy={**WITHOUT_DROPOUT, "TRAINER.CLIPLORA.N_ITERS": 0},
    numbers=Golden,
    bounds={"half": 0.1},  # the scores' factor is 100, and the small CLIP's own is 14: more of the rounding counts
    checkpoints=(LoRAFile("vit_b16", "", 0, LEARNED, dtype=torch.float32, best=True),),
    never_drawn=r".*w_lora_B",
    lacks={"commands": "its public code has a command line of another form"},
)
