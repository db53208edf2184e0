"""RPO, plainly: every token in every layer, and masks that hide the prompts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from reference import Reference
from trainers import rpo

from .shared.clip import causal
from .shared.numbers import WithImages
from .shared.official import BASE, TEXT, VISION, Command, Official
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainRPO(Plain):
    """Loss and scores from ``text_prompt`` ``[K, d_t]`` and ``img_prompt`` ``[K, d_v]``; ``tokens`` are ``[C, 77]``."""

    def __init__(self, weights: Weights, tokens: Tensor):
        super().__init__(weights)
        self.tokens, self.ends = tokens, tokens.argmax(dim=-1) + 1
        x = self.clip.embed_text(tokens)
        hidden = torch.arange(x.shape[1], device=x.device) >= self.ends[:, None]  # [C, 77]
        masks = causal(x.shape[1], x) + torch.zeros_like(x[..., 0]).masked_fill(hidden, float("-inf"))[:, None]
        self.masks = masks.repeat_interleave(x.shape[2] // 64, dim=0)  # one for each head

    def class_features(self, learned: Learned) -> Tensor:
        """``[C, K, d]``: the prompts stand behind EOT, in the place of padding."""
        prompts = learned["text_prompt"]
        places = self.ends[:, None] + torch.arange(len(prompts), device=self.tokens.device)
        rows = torch.arange(len(self.tokens), device=self.tokens.device)[:, None]
        x = self.clip.embed_text(self.tokens).index_put((rows, places), prompts.expand(len(self.tokens), -1, -1))
        for block in self.clip.text_blocks:
            x = block(x, self.masks)
        x = self.clip.norm("ln_final", x[rows, places])
        return F.normalize(x @ self.clip.weights["text_projection"], dim=-1)

    def image_features(self, learned: Learned, images: Tensor) -> Tensor:
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

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        """The mean over the pairs of their cosine logits, ``[B, C]``."""
        f, w = self.image_features(learned, images), class_features
        pairs = [self.scale * f[:, k] @ w[:, k].t() for k in range(f.shape[1])]
        return torch.stack(pairs).mean(dim=0)


def template_of(cfg: Any) -> str:
    """Return the prompt's template: the user's, or the method's own."""
    return cfg.DATASET.TEMPLATE or rpo.TEMPLATE


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainRPO:
    """Build the equations; class names stay raw."""
    return PlainRPO(weights, token_ids(weights, template_of(cfg), names, spoken=False))


class Golden(WithImages):
    """Features of both towers."""

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """The prompt, with a mark where the class name goes."""
        return {"prompt": template_of(cfg).replace("{}", "_")}


LEARNED = {"text_prompt": (24, TEXT), "img_prompt": (24, VISION)}

RPO = Reference(
    plain,
    draw=lambda pick, vision, text: {"TRAINER.RPO.K": pick(range(1, 5))},
    toy={"TRAINER.RPO.K": 3},
    numbers=Golden,
    bounds={"eval_logits": 5e-4},
    checkpoints=(Official("main_K24", "prompt_learner", 15, LEARNED),),
    commands=(Command("main_K24", BASE, ("RPO.K", 24)),),
    words="TRAINER.RPO.CTX_INIT",
    idle=(
        *("TRAINER.RPO.CTX_INIT", "a photo"),
        "TRAINER.RPO.CTX_INIT 'a photo' has no effect: DATASET.TEMPLATE makes the prompts",
    ),
)
