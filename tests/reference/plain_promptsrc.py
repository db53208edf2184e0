"""PromptSRC, plainly: two CLIPs, every token of every layer; the text teacher's features are given, as by the authors'
code, which computes them once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal
from tests.reference.plain_maple import Learned, PlainDeepPrompts


class PlainPromptSRC(PlainDeepPrompts):
    """Loss and scores from the learned tensors by name; ``teacher`` ``[C, d]`` is what ``teacher_of`` gives."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        teacher: Tensor,
        text_weight: float = 25,
        image_weight: float = 10,
    ):
        super().__init__(weights, tokens)
        self.zero_shot = PlainCLIP(weights)
        self.teacher, self.text_weight, self.image_weight = teacher, text_weight, image_weight

    def text_features(self, learned: Learned) -> Tensor:
        return self.text([learned["prompt_learner.ctx"], *self._deep(learned, "text_encoder")])

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        return self.image(images, [learned["image_encoder.VPT"], *self._deep(learned, "image_encoder")])

    def logits(self, learned: Learned, images: Tensor) -> Tensor:
        return self.scale * self.image_features(learned, images) @ self.text_features(learned).t()

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """CE + 25 mean|g~ - g| + 10 mean|f~ - f| + KL(t || s) / (B C)."""
        with torch.no_grad():
            f_0, w_0 = self.zero_shot.image_feature(images), F.normalize(self.teacher, dim=-1)
        f, w = self.image_features(learned, images), self.text_features(learned)
        s, t = self.scale * f @ w.t(), self.scale * f_0 @ w_0.t()
        kl = (t.softmax(-1) * (t.log_softmax(-1) - s.log_softmax(-1))).sum() / s.numel()
        text, image = (w - w_0).abs().mean(), (f - f_0).abs().mean()
        return F.cross_entropy(s, labels) + self.text_weight * text + self.image_weight * image + kl

    def _deep(self, learned: Learned, tower: str) -> list[Tensor]:
        name = tower + ".transformer.resblocks.{}.VPT_shallow"
        count = sum(key.startswith(f"{tower}.transformer") for key in learned)
        return [learned[name.format(i)] for i in range(1, 1 + count)]


def teacher_of(weights: dict[str, Tensor], templates: list[Tensor]) -> Tensor:
    """The mean of frozen CLIP's text features, none normalised, over templates of tokens ``[C, 77]``; ``[C, d]``."""
    clip, total = PlainCLIP(weights), torch.zeros(())
    for tokens in templates:
        x = clip.embed_text(tokens)
        for block in clip.text_blocks:
            x = block(x, causal(x.shape[1], x))
        last = clip.norm("ln_final", x[torch.arange(len(x)), tokens.argmax(dim=-1)])
        total = total + last @ weights["text_projection"]
    return total / len(templates)
