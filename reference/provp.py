"""ProVP-Ref, plainly: two CLIPs, every token of every layer; class features are computed once, as by the authors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers.provp import TEMPLATES
from trainers.shared.cosine import cosine_logits
from trainers.shared.deep_prompts import ImageStart
from trainers.shared.templates import template_of

from .shared.clip import PlainCLIP
from .shared.numbers import WithImages
from .shared.official import BASE, LAYERS, VISION, Command, Official
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainProVP(Plain):
    """Loss and scores from ``prompt_embeddings`` ``[L, P, d_v]``; ``tokens`` are ``[C, 77]``."""

    def __init__(self, weights: Weights, tokens: Tensor, use_ref: bool = True):
        super().__init__(weights)
        self.zero_shot, self.use_ref = PlainCLIP(weights), use_ref
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

    def class_features(self, learned: Learned) -> Tensor:
        return self.w

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """CE(s f w^T, y) + CE(f f_0^T, 0..B-1)."""
        f = self.image_features(learned, images)
        class_term = F.cross_entropy(self.scale * f @ self.w.t(), labels)
        if not self.use_ref:
            return class_term
        with torch.no_grad():
            f_0 = self.zero_shot.image_feature(images)
        return class_term + F.cross_entropy(f @ f_0.t(), torch.arange(len(f), device=f.device))


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainProVP:
    """Build the equations."""
    return PlainProVP(weights, token_ids(weights, template_of(cfg, TEMPLATES), names), cfg.TRAINER.PROVP.USE_REF)


class Golden(WithImages):
    """Features, those of frozen CLIP, the loss's terms, and gradients by layer."""

    def before(self) -> dict[str, Tensor]:
        model = self.model
        terms, _ = model.terms(self.images, self.labels)
        f_0 = ImageStart(model.clip_model.visual, self.images).frozen_feature()
        found = {f"loss/{name}": value for name, value in terms.items()}
        found |= {"image_features_clip": f_0, "logits_clip": cosine_logits(model.clip_model, f_0, model.text_features)}
        return super().before() | found

    def train(self) -> dict[str, np.ndarray]:
        """All methods' arrays, and the norm of each layer's gradient."""
        arrays, name = super().train(), f"{self.prefix}prompt_embeddings"
        return arrays | {f"gradnorm_layer/{name}": np.linalg.norm(arrays[f"grad/{name}"], axis=(1, 2))}


LEARNED = {"prompt_embeddings": (LAYERS, 16, VISION)}
STEM = "vit_b16_b2n_ep100"

ProVP = Reference(
    plain,
    draw=lambda pick, vision, text: {
        "TRAINER.PROVP.N_CTX": pick(range(1, 6)),
        "TRAINER.PROVP.USE_REF": pick([True, False]),
    },
    toy={"TRAINER.PROVP.N_CTX": 3},
    numbers=Golden,
    bounds={"eval_logits": 5e-4},
    checkpoints=(Official(STEM, "Prompt_learner", 93, LEARNED, dtype=torch.float32, best=True),),
    commands=(Command(STEM, f"TRAINER.PROVP.N_CTX 16 {BASE}", ("PROVP.N_CTX", 16)),),
    clips_built=2,
)
