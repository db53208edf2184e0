"""Deep prompts in both towers, plainly, and MaPLe: every token of every layer, 77 positions for every class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal

Learned = dict[str, Tensor]


class PlainDeepPrompts:
    """Towers whose first layers have learned tokens, those of a layer in the place of those before.

    ``tokens`` are ``[C, 77]``, the learned ones in the places after SOS.
    """

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor):
        self.clip, self.tokens, self.scale = PlainCLIP(weights), tokens, weights["logit_scale"].exp()

    def text(self, prompts: Sequence[Tensor], rows: Sequence[int] | None = None) -> Tensor:
        """Unit features ``[C, d]``, or of some rows of ``tokens``; prompts are ``[K, d_t]`` per layer."""
        tokens = self.tokens if rows is None else self.tokens[list(rows)]
        x = self.clip.embed_text(tokens)
        places = self.clip.weights["positional_embedding"]
        for i, block in enumerate(self.clip.text_blocks):
            if i < len(prompts):
                count = len(prompts[i])
                new = prompts[i] + places[1 : 1 + count] if i == 0 else prompts[i]
                x = torch.cat([x[:, :1], new.expand(len(x), -1, -1), x[:, 1 + count :]], dim=1)
            x = block(x, causal(x.shape[1], x))
        return self.clip.read_text(x, tokens.argmax(dim=-1))

    def image(self, images: Tensor, prompts: Sequence[Tensor]) -> Tensor:
        """Unit features ``[B, d]``; prompts are ``[K, d_v]`` per layer, behind the patches."""
        x = self.clip.embed_images(images)
        own = x.shape[1]
        for i, block in enumerate(self.clip.image_blocks):
            if i < len(prompts):
                new = self.clip.norm("visual.ln_pre", prompts[i]) if i == 0 else prompts[i]
                x = torch.cat([x[:, :own], new.expand(len(x), -1, -1)], dim=1)
            x = block(x)
        last = self.clip.norm("visual.ln_post", x[:, 0])
        return F.normalize(last @ self.clip.weights["visual.proj"], dim=-1)


class PlainMaPLe(PlainDeepPrompts):
    """MaPLe's loss and scores from its learned tensors by name."""

    def text_features(self, learned: Learned) -> Tensor:
        return self.text(self._text(learned))

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        names = ["proj", *(f"compound_prompt_projections.{i}" for i in range(len(self._text(learned)) - 1))]
        maps = [(learned[f"prompt_learner.{name}.weight"], learned[f"prompt_learner.{name}.bias"]) for name in names]
        texts = zip(self._text(learned), maps, strict=True)
        return self.image(images, [F.linear(text, weight, bias) for text, (weight, bias) in texts])

    def logits(self, learned: Learned, images: Tensor) -> Tensor:
        return self.scale * self.image_features(learned, images) @ self.text_features(learned).t()

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self.logits(learned, images), labels)

    def _text(self, learned: Learned) -> list[Tensor]:
        name = "prompt_learner.compound_prompts_text."
        deep = sum(key.startswith(name) for key in learned)
        return [learned["prompt_learner.ctx"], *(learned[f"{name}{i}"] for i in range(deep))]
