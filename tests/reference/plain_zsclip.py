"""Zero-shot CLIP, plainly, from its equations; sharing no code with the trainer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP


class PlainZSCLIP:
    """exp(logit_scale) f w^T, w the mean of the templates' unit features, of unit length again.

    ``templates`` holds the tokens ``[C, 77]`` of each template.
    """

    def __init__(self, weights: dict[str, Tensor], templates: list[Tensor]):
        self.clip, self.scale = PlainCLIP(weights), weights["logit_scale"].exp()
        self.text = F.normalize(sum(map(self.clip.text_feature, templates), torch.zeros(())) / len(templates), dim=-1)

    def logits(self, images: Tensor) -> Tensor:
        """``[B, C]``."""
        return self.scale * self.clip.image_feature(images) @ self.text.t()
