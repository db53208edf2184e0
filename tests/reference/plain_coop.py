"""CoOp, CoCoOp, KgCoOp and ProGrad, plainly: 77 positions for every class in every step, two CLIPs where there are two.

Written from the papers' equations and the official layout: a prompt's embeddings are SOS, then the learned vectors and
the name in the order of the position, then the rest of the tokenised text.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainCoOp:
    """Loss and scores from the learned tensors by name (``learned["ctx"]`` ``[M, d_t]`` or ``[C, M, d_t]``).

    ``tokens`` ``[C, 77]`` are "SOS, M placeholders, name, rest"; ``names`` are the names' lengths in tokens.
    """

    def __init__(self, weights: dict[str, Tensor], tokens: Tensor, names: list[int], position: str = "end", **how: Any):
        self.clip = PlainCLIP(weights, **how)
        self.tokens, self.names, self.position = tokens, names, position
        self.scale = weights["logit_scale"].exp()

    def text_features(self, ctx: Tensor) -> Tensor:
        """w ``[C, d]`` of one context."""
        embedded = self.clip.weights["token_embedding.weight"][self.tokens]
        x = torch.stack([self.row(c, embedded[c], ctx if ctx.dim() == 2 else ctx[c]) for c in range(len(embedded))])
        x = x + self.clip.weights["positional_embedding"]
        mask = causal(x.shape[1], x)
        for block in self.clip.text_blocks:
            x = block(x, mask)
        return self.clip.read_text(x, self.tokens.argmax(dim=-1))

    def row(self, c: int, embedded: Tensor, ctx: Tensor) -> Tensor:
        """The embeddings ``[77, d_t]`` of class c."""
        m = len(ctx)
        start, name, rest = embedded.split([1 + m, self.names[c], 76 - m - self.names[c]])
        order = {
            "end": [start[:1], ctx, name, rest],
            "middle": [start[:1], ctx[: m // 2], name, ctx[m // 2 :], rest],
            "front": [start[:1], name, ctx, rest],
        }
        return torch.cat(order[self.position])

    def logits(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """exp(logit_scale) cos(f, w_c), ``[B, C]``."""
        return self.scale * self.clip.image_feature(images) @ self.text_features(learned["ctx"]).t()

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.logits(learned, images), labels)


class PlainCoCoOp(PlainCoOp):
    """Image by image: the context plus a shift from the image's feature by a network with one hidden layer."""

    def image_text_features(self, learned: dict[str, Tensor], f: Tensor) -> Tensor:
        """w ``[C, d]`` for one image feature ``[d]``."""
        hidden = F.linear(f, learned["meta_net.linear1.weight"], learned["meta_net.linear1.bias"]).relu()
        shift = F.linear(hidden, learned["meta_net.linear2.weight"], learned["meta_net.linear2.bias"])
        return self.text_features(learned["ctx"] + shift)

    def logits(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        features = self.clip.image_feature(images)
        return torch.stack([self.scale * f @ self.image_text_features(learned, f).t() for f in features])


class PlainKgCoOp(PlainCoOp):
    """CoOp and W (1 - mean cos(w_c, z_c)); z_c is a second CLIP's feature of ``template_tokens`` ``[C, 77]``."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        names: list[int],
        template_tokens: Tensor,
        weight: float,
        position: str = "end",
    ):
        super().__init__(weights, tokens, names, position)
        self.weight = weight
        with torch.no_grad():
            self.fixed = PlainCLIP(weights).text_feature(template_tokens)

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """The text side is computed once for both terms, as in the official code."""
        w = self.text_features(learned["ctx"])
        cross_entropy = F.cross_entropy(self.scale * self.clip.image_feature(images) @ w.t(), labels)
        return cross_entropy + self.weight * (1 - F.cosine_similarity(w, self.fixed).mean())


class PlainProGrad(PlainCoOp):
    """CoOp whose gradient loses its part against that of the distance to a second CLIP's predictions."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        names: list[int],
        template_tokens: Tensor,
        temperature: float = 1.0,
        strength: float = 1.0,
        position: str = "end",
    ):
        super().__init__(weights, tokens, names, position)
        self.teacher, self.temperature, self.strength = PlainCLIP(weights), temperature, strength
        with torch.no_grad():
            self.fixed = self.teacher.text_feature(template_tokens)

    def losses(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and T^2 mean(-sum softmax(t / T) log softmax(s / T))."""
        s, t = self.logits(learned, images), self.temperature
        with torch.no_grad():
            target = (self.scale * self.teacher.image_feature(images) @ self.fixed.t() / t).softmax(dim=1)
        distance = -(target * (s / t).log_softmax(dim=1)).sum(dim=1).mean() * t**2
        return F.cross_entropy(s, labels), distance

    def gradients(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The cross-entropy, and both gradients of the context."""
        cross_entropy, distance = self.losses(learned, images, labels)
        (g_b,) = torch.autograd.grad(distance, learned["ctx"], retain_graph=True)
        (g_a,) = torch.autograd.grad(cross_entropy, learned["ctx"])
        return cross_entropy.detach(), g_a, g_b

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy, with the projected gradient for its own."""
        value, g_a, g_b = self.gradients(learned, images, labels)
        unit_a, unit_b = g_a / g_a.norm(), g_b / g_b.norm()
        g = g_a - self.strength * (g_a * unit_b).sum() * unit_b if (unit_a * unit_b).sum() < 0 else g_a
        slope = (g * learned["ctx"]).sum()
        return value + slope - slope.detach()
