"""MMA, plainly: an adapter beside each of the layers START to END of both towers, at every token."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.shared.context import clip_text_features
from trainers.shared.cosine import clip_image_features
from trainers.shared.templates import fill

from .shared.clip import causal
from .shared.numbers import WithImages
from .shared.official import BASE, CLASSES, TEXT, VISION, Command, Official, Shapes, linear
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainMMA(Plain):
    """Loss and scores from the learned tensors by name, whose gradients are the loss's divided by ``s``."""

    def __init__(self, weights: Weights, tokens: Tensor, start: int, end: int, s: float):
        super().__init__(weights)
        self.tokens, self.layers, self.s = tokens, range(start, end + 1), s

    def path(self, learned: Learned, tower: str, layer: int, block: Any, x: Tensor) -> Tensor:
        """s Up(ReLU(Shared(ReLU(Down(LN1(x)))))); between its ends gradients are divided by s."""
        own = f"{tower}_adapter.{layer}"
        hidden = _Rescaled.apply(block.ln_1(x), self.s)
        for name in (f"{own}.down.0", f"shared_adapter.{layer}.0"):
            hidden = F.relu(F.linear(hidden, learned[f"{name}.weight"], learned[f"{name}.bias"]))
        return self.s * _Rescaled.apply(
            F.linear(hidden, learned[f"{own}.up.weight"], learned[f"{own}.up.bias"]), 1 / self.s
        )

    def layer(self, learned: Learned, tower: str, layer: int, block: Any, x: Tensor, mask: Any = None) -> Tensor:
        """Block plus path."""
        out = block(x, mask)
        return out + self.path(learned, tower, layer, block, x) if layer in self.layers else out

    def class_features(self, learned: Learned) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        mask = causal(x.shape[1], x)
        for layer, block in enumerate(self.clip.text_blocks, start=1):
            x = self.layer(learned, "text", layer, block, x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        x = self.clip.embed_images(images)
        for layer, block in enumerate(self.clip.image_blocks, start=1):
            x = self.layer(learned, "visual", layer, block, x)
        x = self.clip.norm("visual.ln_post", x[:, 0])
        return F.normalize(x @ self.clip.weights["visual.proj"], dim=-1)


class _Rescaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * grads[0], None


def prompt_of(cfg: Any) -> str:
    """Return the prompt's template."""
    return f"{cfg.TRAINER.MMADAPTER.TEXT_CTX_INIT} {{}}."


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainMMA:
    """Build the equations."""
    node = cfg.TRAINER.MMADAPTER
    tokens = token_ids(weights, prompt_of(cfg), names)
    return PlainMMA(weights, tokens, node.ADAPTER_START, node.ADAPTER_END, node.ADAPTER_SCALE)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose layers, width and scale."""
    start = pick(range(1, min(vision, text) + 1))
    return {
        "TRAINER.MMADAPTER.ADAPTER_START": start,
        "TRAINER.MMADAPTER.ADAPTER_END": pick(range(start, min(vision, text) + 1)),
        "TRAINER.MMADAPTER.ADAPTER_DIM": pick(range(1, 6)),
        "TRAINER.MMADAPTER.ADAPTER_SCALE": pick([0.001, 0.3, 1.0]),
        "TRAINER.MMADAPTER.TEXT_CTX_INIT": pick(["a photo of a", "the"]),
    }


class Golden(WithImages):
    """Features of both towers, with the adapters and without."""

    def before(self) -> dict[str, Tensor]:
        clip_model = self.model.clip_model
        prompts = fill(prompt_of(self.cfg), self.setting["classes"])
        frozen = {"text_features_clip": clip_text_features(clip_model, prompts)}
        return super().before() | frozen | {"image_features_clip": clip_image_features(clip_model, self.images)}


def _adapters(name: str, width: int) -> Shapes:
    return {
        key: shape
        for i in range(5, 13)
        for key, shape in (linear(f"{name}.{i}.down.0", width, 32) | linear(f"{name}.{i}.up", 32, width)).items()
    }


LEARNED: Shapes = {
    **_adapters("text_adapter", TEXT),
    **_adapters("visual_adapter", VISION),
    **{k: shape for i in range(5, 13) for k, shape in linear(f"shared_adapter.{i}.0", 32, 32).items()},
}

MultiModalAdapter = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.MMADAPTER.ADAPTER_START": 2, "TRAINER.MMADAPTER.ADAPTER_END": 3},
    numbers=Golden,
    bounds={"eval_logits": 5e-4},
    checkpoints=(
        Official(
            *("vit_b16_ep5", "adapter_learner", 5, LEARNED, {"token_embedding": (CLASSES, 77, TEXT)}),
            lambda: {"tokenized_prompts": torch.zeros(CLASSES, 77, dtype=torch.long)},
            torch.float32,
        ),
    ),
    commands=(Command("vit_b16_ep5", BASE, ("MMADAPTER.ADAPTER_SCALE", 0.001)),),
    never_drawn=r".*bias",
    words="TRAINER.MMADAPTER.TEXT_CTX_INIT",
)
