"""TCP, plainly: 77 positions for every class in every layer, two CLIPs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainTCP:
    """Loss and scores from the learned tensors by name.

    ``tokens`` ``[C, 77]``: the learned prompts, any words at positions 1 to 4; ``prior`` ``[C, 77]``: those of T0.
    ``replace_at``: the block, from 0, before which those positions become the class-aware tokens.
    """

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, prior: Tensor, replace_at: int):
        self.clip, self.tokens, self.replace_at = PlainCLIP(weights), tokens, replace_at
        self.logit_scale = weights["logit_scale"].exp()
        with torch.no_grad():
            self.prior = PlainCLIP(weights).text_feature(prior)

    def class_tokens(self, learned: dict[str, Tensor]) -> Tensor:
        """Two linear maps of T0 with x sigmoid(1.702 x) between them, ``[C, 4, d_t]``."""
        x = F.linear(self.prior, learned["meta_net.linear1.weight"], learned["meta_net.linear1.bias"])
        x = F.linear(x * torch.sigmoid(1.702 * x), learned["meta_net.linear2.weight"], learned["meta_net.linear2.bias"])
        return x.reshape(len(x), 4, -1)

    def text_features(self, learned: dict[str, Tensor]) -> Tensor:
        embedded = self.clip.weights["token_embedding.weight"][self.tokens]
        x = put(embedded, learned["ctx"].expand(len(embedded), -1, -1)) + self.clip.weights["positional_embedding"]
        mask = causal(x.shape[1], x)
        for i, block in enumerate(self.clip.text_blocks):
            if i == self.replace_at:
                x = put(x, self.class_tokens(learned))
            x = block(x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def image_features(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """Frozen CLIP's."""
        with torch.no_grad():
            return self.clip.image_feature(images)

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy + 8 (1 - mean cos(w_c, T0_c))."""
        w = self.text_features(learned)
        logits = self.logit_scale * self.image_features(learned, images) @ w.t()
        return F.cross_entropy(logits, labels) + 8 * (1 - F.cosine_similarity(w, self.prior).mean())


def put(x: Tensor, tokens: Tensor) -> Tensor:
    """``x`` ``[C, 77, d_t]`` with ``tokens`` ``[C, 4, d_t]`` at positions 1 to 4."""
    return torch.cat([x[:, :1], tokens, x[:, 5:]], dim=1)
