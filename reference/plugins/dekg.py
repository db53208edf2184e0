"""DeKg, plainly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.plugins.dekg import hsic
from trainers.shared.cosine import cosine_distance, l2_normalize

from ..shared.numbers import Numbers
from ..shared.plain import Learned, Plain
from ..tcp import PlainTCP
from . import PlainAround, PluginReference


class PlainDeKg(PlainAround):
    """mu trace(H K H M) beside the host's loss."""

    def __init__(self, host: Plain, cfg: Any, names: list[str]):
        super().__init__(host, cfg, names)
        self.weight = cfg.TRAINER.DEKG.LOSS_WEIGHT

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Return the host's loss + mu trace(H K H M), K and M of features divided by their Frobenius norms."""
        host: Any = self.host
        raw = isinstance(host, PlainTCP)
        a = self.raw_features(learned, images)[1] if raw else host.class_features(learned)
        b = host.prior if raw else host.fixed
        k, m = (x @ x.t() / x.square().sum() for x in (a, b))
        h = torch.eye(len(a), dtype=a.dtype) - 1 / len(a)
        return host.loss(learned, images, labels) + self.weight * torch.trace(h @ k @ h @ m)


class Golden(Numbers):
    """The terms of the loss, at every step, and the gradient of HSIC alone."""

    def before(self) -> dict[str, Tensor]:
        """The features, HSIC of both forms of the learned ones, and the loss's terms."""
        model, found = self.model, super().before()
        t, prior = model.raw_class_features(), model.text_features_clip
        found |= {"hsic_of_raw": hsic(t, prior), "hsic_of_normalised": hsic(l2_normalize(t), prior)}
        found |= {"text_features_clip": prior, "text_features_raw_norm": t.norm(dim=-1)}
        found |= {"image_features": model.image_features(self.images)}
        found |= dict(zip(("loss/ce", "loss/kg", "loss/hsic"), self._terms(), strict=True))
        if hasattr(model, "class_tokens"):
            tokens = model.class_tokens()
            found |= {"class_tokens_head": tokens[..., :32], "class_tokens_norm": tokens.norm(dim=-1)}
        return found

    def before_step(self, step: int) -> None:
        """Look at the terms, and at first at HSIC's gradient."""
        terms, learned = self._terms(), self.learned()
        self.terms.append([term.item() for term in terms])
        if step == 0:
            grads = torch.autograd.grad(terms[2], [*learned.values()])
            self.gradients = dict(zip(learned, grads, strict=True))

    def train(self) -> dict[str, np.ndarray]:
        """What all methods have, the terms, and HSIC's gradient."""
        self.terms: list[list[float]] = []
        found = super().train() | {"loss_terms": np.array(self.terms)}
        for name, grad in self.gradients.items():
            found |= {f"grad_hsic/{name}": grad.numpy(), f"gradnorm_hsic/{name}": grad.norm().numpy()}
        return found

    def after(self) -> dict[str, Tensor]:
        """The scores and the class features."""
        return super().after() | {"eval_text_features": self.model.class_features()}

    def _terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy, 1 - mean cos, and what the plug-in adds, each without its weight."""
        model, t = self.model, self.model.raw_class_features()
        w = l2_normalize(t)
        cross_entropy = F.cross_entropy(model.scores(self.images, w), self.labels)
        return cross_entropy, cosine_distance(w, model.text_features_clip), model.DeKg.term(model, t)


DeKg = PluginReference(
    PlainDeKg,
    hosts=("KgCoOp", "TCP"),
    draw=lambda pick: {"TRAINER.DEKG.LOSS_WEIGHT": pick([6.0, 2000.0])},
    numbers=Golden,
)
