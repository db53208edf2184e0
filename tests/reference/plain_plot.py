"""PLOT++, plainly, from its equations: every view a whole image sequence, every prompt of every class 77 positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainPLOT:
    """Logits and loss from the learned tensors by name; ``tokens`` ``[N, C, 77]`` hold phrase, name and full stop."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        trade_off: bool = False,
        eps: float = 0.1,
        max_iter: int = 100,
        thresh: float = 0.01,
    ):
        self.clip, self.tokens, self.trade_off = PlainCLIP(weights), tokens, trade_off
        self.eps, self.max_iter, self.thresh = eps, max_iter, thresh
        self.scale = weights["logit_scale"].exp()

    def views(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """``[M, B, d]``, not normalised."""
        weights = self.clip.weights
        found = []
        for tokens in learned["prompt_learner.ctx_vision"]:
            behind = self.clip.norm("visual.ln_pre", tokens).expand(len(images), -1, -1)
            x = torch.cat([self.clip.embed_images(images), behind], dim=1)
            for block in self.clip.image_blocks:
                x = block(x)
            found.append(self.clip.norm("visual.ln_post", x[:, 0]) @ weights["visual.proj"])
        return torch.stack(found)

    def texts(self, learned: dict[str, Tensor]) -> Tensor:
        """``[N, C, d]``, not normalised; the context replaces what stands behind SOS, as far as it reaches."""
        weights = self.clip.weights
        found = []
        for tokens, ctx in zip(self.tokens, learned["prompt_learner.ctx"], strict=True):
            words = weights["token_embedding.weight"][tokens]
            middle = ctx.expand(len(tokens), -1, -1)
            x = torch.cat([words[:, :1], middle, words[:, 1 + len(ctx) :]], dim=1) + weights["positional_embedding"]
            for block in self.clip.text_blocks:
                x = block(x, causal(x.shape[1], x))
            last = self.clip.norm("ln_final", x[torch.arange(len(x)), tokens.argmax(dim=-1)])
            found.append(last @ weights["text_projection"])
        return torch.stack(found)

    def plan(self, cosines: Tensor) -> Tensor:
        """T ``[B, C, M, N]`` with diag(r) K diag(c)."""
        kernel = torch.exp(-(1 - cosines) / self.eps)
        m, n = kernel.shape[-2:]
        r, c = (torch.ones(*kernel.shape[:2], count, dtype=kernel.dtype, device=kernel.device) for count in (m, n))
        for _ in range(self.max_iter):
            before = r
            r = (1 / m) / torch.einsum("bcmn,bcn->bcm", kernel, c)
            c = (1 / n) / torch.einsum("bcmn,bcm->bcn", kernel, r)
            if (r - before).abs().mean() < self.thresh:
                break
        return torch.diag_embed(r) @ kernel @ torch.diag_embed(c)

    def logits(self, learned: dict[str, Tensor], images: Tensor) -> Tensor:
        """``[B, C]``."""
        return self.logits_of(self.views(learned, images), self.texts(learned))

    def logits_of(self, views: Tensor, texts: Tensor) -> Tensor:
        """``[B, C]`` of features that are not normalised."""
        f, w = F.normalize(views, dim=-1), F.normalize(texts, dim=-1)
        cosines = torch.einsum("mbd,ncd->bcmn", f, w)
        scores = self.scale * (self.plan(cosines.detach()) * cosines).sum(dim=(2, 3))
        if self.trade_off:
            g, t = F.normalize(views.mean(dim=0), dim=-1), F.normalize(texts.mean(dim=0), dim=-1)
            scores = scores + self.scale * g @ t.t()
        return scores

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.logits(learned, images), labels)
