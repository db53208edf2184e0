"""ProDA, plainly, from its equations: every prompt of every class 77 positions, the covariances as they stand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainProDA:
    """Loss and logits from ``ctx`` ``[K, n, d_t]``.

    Args:
        weights: CLIP's state dict.
        tokens: ids ``[C, 77]`` of n placeholders, name and full stop; ``lengths`` holds the names' numbers of tokens.
        nameless: ids ``[1, 77]`` of n placeholders and full stop.
        apart: weight of the cosines.
    """

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, lengths: list[int], nameless: Tensor, apart: float):
        self.clip, self.tokens, self.lengths, self.nameless, self.apart = (
            PlainCLIP(weights),
            tokens,
            lengths,
            nameless,
            apart,
        )
        self.scale = weights["logit_scale"].exp()

    def sequence(self, row: Tensor, length: int, ctx: Tensor, position: str) -> Tensor:
        """Embeddings ``[77, d_t]`` of one prompt of one class, without positions."""
        words, n = self.clip.weights["token_embedding.weight"][row], len(ctx)
        sos, name, rest = words[:1], words[1 + n : 1 + n + length], words[1 + n + length :]
        half = n // 2
        parts = {
            "end": [sos, ctx, name, rest],
            "middle": [sos, ctx[:half], name, ctx[half:], rest],
            "front": [sos, name, ctx, rest],
        }
        return torch.cat(parts[position])

    def encode(self, x: Tensor, eot: Tensor) -> Tensor:
        """Unit features of embeddings ``[C, 77, d_t]``."""
        x = x + self.clip.weights["positional_embedding"]
        mask = causal(x.shape[1], x)
        for block in self.clip.text_blocks:
            x = block(x, mask)
        return self.clip.read_text(x, eot)

    def text(self, ctx: Tensor, k: int) -> Tensor:
        """Unit features ``[C, d]`` of the k-th prompt."""
        quarter = len(ctx) // 4
        position = "front" if k < quarter else "middle" if k < 2 * quarter else "end"
        rows = [self.sequence(*pair, ctx[k], position) for pair in zip(self.tokens, self.lengths, strict=True)]
        return self.encode(torch.stack(rows), self.tokens.argmax(dim=-1))

    def loss(self, ctx: Tensor, which: list[int], images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the bound with these prompts, and the weighted mean of the cosines of all."""
        f = self.clip.image_feature(images).detach()
        w = torch.stack([self.text(ctx, k) for k in which])
        mean = w.mean(dim=0)
        deviation = w - mean
        covariance = torch.einsum("kid,kjd->ijd", deviation, deviation) / (len(which) + 1)
        own = torch.stack([covariance[i, i] for i in range(len(mean))])
        logits = []
        for image, label in zip(f, labels.tolist(), strict=True):
            sigma = ((own[label] + own - 2 * covariance[label]) * image**2).sum(dim=-1)
            logits.append(self.scale * mean @ image + 0.5 * self.scale**2 * sigma)
        return F.cross_entropy(torch.stack(logits), labels) + self.apart * self.cosines(ctx)

    def cosines(self, ctx: Tensor) -> Tensor:
        """The mean of |cos(h_k, h_l)| over k != l, h without a class name."""
        x = torch.stack([self.sequence(self.nameless[0], 0, vectors, "end") for vectors in ctx])
        h = self.encode(x, self.nameless.argmax(dim=-1).expand(len(ctx)))
        pairs = [h[k] @ h[j] for k in range(len(ctx)) for j in range(len(ctx)) if k != j]
        return torch.stack(pairs).abs().mean() if pairs else h.new_zeros(())

    def class_features(self, ctx: Tensor) -> Tensor:
        """``[C, d]``: the mean of all prompts, not normalised."""
        return torch.stack([self.text(ctx, k) for k in range(len(ctx))]).mean(dim=0)

    def logits(self, images: Tensor, class_features: Tensor) -> Tensor:
        """``[B, C]`` at evaluation."""
        return self.scale * self.clip.image_feature(images) @ class_features.t()
