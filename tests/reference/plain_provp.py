"""ProVP-Ref, plainly: two CLIPs, every token of every layer; class features are computed once, as by the authors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP
from tests.reference.plain_maple import Learned


class PlainProVP:
    """Loss and scores from ``prompt_embeddings`` ``[L, P, d_v]``; ``tokens`` are ``[C, 77]``."""

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, use_ref: bool = True):
        self.clip, self.zero_shot = PlainCLIP(weights), PlainCLIP(weights)
        self.scale, self.use_ref = weights["logit_scale"].exp(), use_ref
        with torch.no_grad():
            self.w = self.zero_shot.text_feature(tokens)

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
        """Prompts stand right after the class token."""
        prompts = learned["prompt_embeddings"]
        count = prompts.shape[1]
        x = self.clip.embed_images(images)
        x = torch.cat([x[:, :1], prompts[0].expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for i, block in enumerate(self.clip.image_blocks):
            if i > 0:
                mixed = 0.01 * x[:, 1 : 1 + count] + 0.99 * prompts[i]
                x = torch.cat([x[:, :1], mixed, x[:, 1 + count :]], dim=1)
            x = block(x)
        last = self.clip.norm("visual.ln_post", x[:, 0])
        return F.normalize(last @ self.clip.weights["visual.proj"], dim=-1)

    def logits(self, learned: Learned, images: Tensor) -> Tensor:
        return self.scale * self.image_features(learned, images) @ self.w.t()

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """CE(s f w^T, y) + CE(f f_0^T, 0..B-1)."""
        f = self.image_features(learned, images)
        class_term = F.cross_entropy(self.scale * f @ self.w.t(), labels)
        if not self.use_ref:
            return class_term
        with torch.no_grad():
            f_0 = self.zero_shot.image_feature(images)
        return class_term + F.cross_entropy(f @ f_0.t(), torch.arange(len(f), device=f.device))
