"""RPO, plainly: every token in every layer, and masks that hide the prompts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainRPO:
    """Loss and scores from ``text_prompt`` ``[K, d_t]`` and ``img_prompt`` ``[K, d_v]``; ``tokens`` are ``[C, 77]``."""

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor):
        self.clip, self.tokens = PlainCLIP(weights), tokens
        self.ends = tokens.argmax(dim=-1) + 1
        self.logit_scale = weights["logit_scale"].exp()

    def text_features(self, learned: dict[str, Tensor]) -> Tensor:
        """``[C, K, d]``: the prompts stand behind EOT, in the place of padding."""
        prompts = learned["text_prompt"]
        places = self.ends[:, None] + torch.arange(len(prompts), device=self.tokens.device)
        rows = torch.arange(len(self.tokens), device=self.tokens.device)[:, None]
        x = self.clip.embed_text(self.tokens).index_put((rows, places), prompts.expand(len(self.tokens), -1, -1))
        hidden = torch.arange(x.shape[1], device=x.device) >= self.ends[:, None]  # [C, 77]
        masks = causal(x.shape[1], x) + torch.zeros_like(x[..., 0]).masked_fill(hidden, float("-inf"))[:, None]
        masks = masks.repeat_interleave(x.shape[2] // 64, dim=0)  # one for each head
        for block in self.clip.text_blocks:
            x = block(x, masks)
        x = self.clip.norm("ln_final", x[rows, places])
        return F.normalize(x @ self.clip.weights["text_projection"], dim=-1)

    def image_features(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """``[B, K, d]``: the prompts stand behind the patches."""
        x = self.clip.embed_images(images)
        prompts = self.clip.norm("visual.ln_pre", learned["img_prompt"])
        count = x.shape[1]
        x = torch.cat([x, prompts.expand(len(x), -1, -1)], dim=1)
        mask = x.new_zeros(x.shape[1], x.shape[1])
        mask[:, count:] = float("-inf")
        for block in self.clip.image_blocks:
            x = block(x, mask)
        x = self.clip.norm("visual.ln_post", x[:, count:])
        return F.normalize(x @ self.clip.weights["visual.proj"], dim=-1)

    def logits_of(self, f: Tensor, w: Tensor) -> Tensor:
        """The mean over the pairs of their cosine logits, ``[B, C]``."""
        pairs = [self.logit_scale * f[:, k] @ w[:, k].t() for k in range(f.shape[1])]
        return torch.stack(pairs).mean(dim=0)

    def logits(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        return self.logits_of(self.image_features(learned, images), self.text_features(learned))

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self.logits(learned, images), labels)
