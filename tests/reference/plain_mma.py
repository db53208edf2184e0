"""MMA, plainly: an adapter beside each of the layers START to END of both towers, at every token."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainMMA:
    """Loss and scores from the learned tensors by name; the gradients they get are the loss's divided by ``scale``."""

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, start: int, end: int, scale: float):
        self.clip, self.tokens = PlainCLIP(weights), tokens
        self.layers, self.scale = range(start, end + 1), scale
        self.logit_scale = weights["logit_scale"].exp()

    def path(self, learned: dict[str, Tensor], tower: str, layer: int, block: Any, x: Tensor) -> Tensor:
        """s Up(ReLU(Shared(ReLU(Down(LN1(x))))))."""
        own = f"{tower}_adapter.{layer}"
        hidden = block.ln_1(x)
        for name in (f"{own}.down.0", f"shared_adapter.{layer}.0"):
            hidden = F.relu(F.linear(hidden, learned[f"{name}.weight"], learned[f"{name}.bias"]))
        return self.scale * F.linear(hidden, learned[f"{own}.up.weight"], learned[f"{own}.up.bias"])

    def layer(self, learned, tower, layer, block, x, mask=None):
        """Block plus path."""
        out = block(x, mask)
        return out + self.path(learned, tower, layer, block, x) if layer in self.layers else out

    def text_features(self, learned: dict[str, Tensor]) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        mask = causal(x.shape[1], x)
        for layer, block in enumerate(self.clip.text_blocks, start=1):
            x = self.layer(learned, "text", layer, block, x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def image_features(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        x = self.clip.embed_images(images)
        for layer, block in enumerate(self.clip.image_blocks, start=1):
            x = self.layer(learned, "visual", layer, block, x)
        x = self.clip.norm("visual.ln_post", x[:, 0])
        return F.normalize(x @ self.clip.weights["visual.proj"], dim=-1)

    def logits(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        return self.logit_scale * self.image_features(learned, images) @ self.text_features(learned).t()

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        rescaled = {name: _rescaled(value, 1 / self.scale) for name, value in learned.items()}
        return F.cross_entropy(self.logits(rescaled, images), labels)


def _rescaled(value: Tensor, factor: float) -> Tensor:
    copy = value.clone()
    if copy.requires_grad:
        copy.register_hook(lambda grad: factor * grad)
    return copy
