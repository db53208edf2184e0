"""TCP, plainly: 77 positions for every class in every layer, two CLIPs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from reference import Reference
from trainers.shared.cosine import clip_image_features, cosine_distance
from trainers.tcp import templates_of

from .shared.clip import PlainCLIP, causal
from .shared.numbers import Numbers
from .shared.official import COOP, JOINT, TEXT, Command, Official, around, linear
from .shared.plain import Learned, Plain, Weights, depths, token_ids


class PlainTCP(Plain):
    """Loss and scores from the learned tensors by name.

    ``tokens`` ``[C, 77]``: the learned prompts, any words at positions 1 to 4; ``prior`` ``[C, 77]``: those of T0.
    ``replace_at``: the block, from 0, before which those positions become the class-aware tokens.
    """

    def __init__(self, weights: Weights, tokens: Tensor, prior: Tensor, replace_at: int):
        super().__init__(weights)
        self.tokens, self.replace_at = tokens, replace_at
        self.embedded = weights["token_embedding.weight"][tokens]
        with torch.no_grad():
            self.prior = PlainCLIP(weights).text_feature(prior)

    def class_tokens(self, learned: Learned) -> Tensor:
        """Two linear maps of T0 with x sigmoid(1.702 x) between them, ``[C, 4, d_t]``."""
        x = F.linear(self.prior, learned["meta_net.linear1.weight"], learned["meta_net.linear1.bias"])
        x = F.linear(x * torch.sigmoid(1.702 * x), learned["meta_net.linear2.weight"], learned["meta_net.linear2.bias"])
        return x.reshape(len(x), 4, -1)

    def class_features(self, learned: Learned) -> Tensor:
        ctx = learned["ctx"].expand(len(self.tokens), -1, -1)
        x = put(self.embedded, ctx) + self.clip.weights["positional_embedding"]
        mask = causal(x.shape[1], x)
        for i, block in enumerate(self.clip.text_blocks):
            if i == self.replace_at:
                x = put(x, self.class_tokens(learned))
            x = block(x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy + 8 (1 - mean cos(w_c, T0_c))."""
        w = self.class_features(learned)
        return F.cross_entropy(self.scores(learned, images, w), labels) + 8 * (
            1 - F.cosine_similarity(w, self.prior).mean()
        )


def put(x: Tensor, tokens: Tensor) -> Tensor:
    """``x`` ``[C, 77, d_t]`` with ``tokens`` ``[C, 4, d_t]`` at positions 1 to 4."""
    return torch.cat([x[:, :1], tokens, x[:, 5:]], dim=1)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainTCP:
    """Build the equations."""
    prior, learned = (token_ids(weights, template, names) for template in templates_of(cfg))
    layers = depths(weights)[1]
    return PlainTCP(weights, learned, prior, 8 if layers > 8 else 2 * layers // 3)


class Golden(Numbers):
    """Features, class-aware tokens and the loss's terms."""

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """The templates of both text features."""
        return dict(zip(("teacher_template", "prompts"), templates_of(cfg), strict=True))

    def before(self) -> dict[str, Tensor]:
        model, found = self.model, super().before()
        tokens = model.class_tokens()
        found |= {"class_tokens_head": tokens[..., :32], "class_tokens_norm": tokens.norm(dim=-1)}
        found |= {"loss/ce": F.cross_entropy(found["logits"], self.labels)}
        found |= {"loss/score": cosine_distance(found["text_features"], model.text_features_clip)}
        found |= {"image_features": clip_image_features(model.clip_model, self.images)}
        return found | {"text_features_clip": model.text_features_clip}


LEARNED = {"ctx": (4, TEXT), **linear("meta_net.linear1", JOINT, 8), **linear("meta_net.linear2", 8, 4 * TEXT)}
FOUR = {"TRAINER.COOP.N_CTX": 4}

TCP = Reference(
    plain,
    draw=lambda pick, vision, text: FOUR,
    bench=FOUR,
    toy=FOUR,
    unseen=True,  # in a tower of one layer the vectors are replaced before anything sees them
    numbers=Golden,
    bounds={"eval_logits": 5e-4},
    checkpoints=(
        Official("vit_b16_ep100_ctxv1", "prompt_learner", 50, LEARNED, around(4), optimizer=torch.optim.Adam),
    ),
    commands=(Command("vit_b16_ep100_ctxv1", COOP.format(4, "TRAINER.COOP.W 1.0 ", 16), ("COOP.CTX_INIT", False)),),
    clips_built=2,
    switch="TRAINER.COOP.CTX_INIT",
)
