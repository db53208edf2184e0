"""CLIP-Adapter and Tip-Adapter, plainly, from their equations; sharing no code with the trainers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP


def image_feature(clip: PlainCLIP, images: Tensor) -> Tensor:
    """f ``[B, d]`` as the tower gives it, not normalised."""
    x = clip.embed_images(images)
    for block in clip.image_blocks:
        x = block(x)
    return clip.norm("visual.ln_post", x[:, 0]) @ clip.weights["visual.proj"]


class PlainCLIPAdapter:
    """z = r A(f) + (1 - r) f, both sides normalised, logits times exp(logit_scale); text encoded at every step."""

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, ratio: float):
        self.clip, self.tokens, self.ratio = PlainCLIP(weights), tokens, ratio
        self.scale = weights["logit_scale"].exp()

    def image_features(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """z ``[B, d]``, of unit length."""
        f = image_feature(self.clip, images)
        hidden = torch.relu(f @ learned["fc.0.weight"].t())
        adapted = torch.relu(hidden @ learned["fc.2.weight"].t())
        return F.normalize(self.ratio * adapted + (1 - self.ratio) * f, dim=-1)

    def logits(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """``[B, C]``."""
        return self.scale * self.image_features(learned, images) @ self.clip.text_feature(self.tokens).t()

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.logits(learned, images), labels)


class PlainTipAdapter:
    """z = 100 f W + alpha exp(-beta (1 - f K)) V; ``templates`` holds the tokens ``[C, 77]`` of each template."""

    def __init__(self, weights: dict[str, Tensor], templates: list[Tensor], alpha: float, beta: float):
        self.clip, self.alpha, self.beta = PlainCLIP(weights), alpha, beta
        each = torch.stack([self.clip.text_feature(tokens) for tokens in templates])
        self.text = F.normalize(each.mean(dim=0), dim=-1)

    def keys(self, passes: list[Tensor]) -> Tensor:
        """K ``[N, d]`` of augmented passes over the same images, each ``[N, 3, H, W]``."""
        each = torch.stack([image_feature(self.clip, images) for images in passes])
        return F.normalize(each.mean(dim=0), dim=-1)

    def logits(self, keys: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """``[B, C]`` with cached keys ``[N, d]`` and their labels ``[N]``."""
        f = F.normalize(image_feature(self.clip, images), dim=-1)
        values = F.one_hot(labels, len(self.text)).to(f.dtype)
        return 100 * f @ self.text.t() + self.alpha * torch.exp(-self.beta * (1 - f @ keys.t())) @ values

    def best(
        self, keys: Tensor, cached: Tensor, f: Tensor, labels: Tensor, scale: list[float], steps: list[int]
    ) -> tuple[float, float, float]:
        """Beta, alpha and the share of right answers of the first best pair of the grid, beta in the outer loop."""
        values = F.one_hot(cached, len(self.text)).to(f.dtype)
        found = (0.0, 0.0, -1.0)
        for i in range(steps[0]):
            beta = i * (scale[0] - 0.1) / steps[0] + 0.1
            for j in range(steps[1]):
                alpha = j * (scale[1] - 0.1) / steps[1] + 0.1
                z = 100 * f @ self.text.t() + alpha * torch.exp(-beta * (1 - f @ keys.t())) @ values
                right = (z.argmax(dim=1) == labels).double().mean().item()
                if right > found[2]:
                    found = beta, alpha, right
        return found
