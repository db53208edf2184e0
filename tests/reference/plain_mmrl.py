"""MMRL, plainly, from the paper's section 3.2: two CLIPs, 77 + K text positions, every token in every layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.plain_clip import PlainCLIP, causal


class PlainMMRL:
    """Loss and scores from the learned tensors given by name (``learned``), with no shortcut of any kind.

    ``first`` is J, and ``text_first`` that of the text tower where it differs. ``variant`` of Table 4 and
    ``regularizer`` of Table 9 as TRAINER.MMRL has them. ``how``: arguments of ``PlainCLIP``.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        first: int,
        alpha: float,
        reg_weight: float,
        text_first: int | None = None,
        variant: str = "full",
        regularizer: str = "cos",
        **how: Any,
    ):
        self.clip, self.zero_shot = PlainCLIP(weights, **how), PlainCLIP(weights, **how)
        self.tokens, self.alpha, self.reg_weight = tokens, alpha, reg_weight
        self.first = {"v": first, "t": first if text_first is None else text_first}
        self.variant, self.regularizer = variant, regularizer
        if variant == "wo_V":
            self.first["v"] = len(self.clip.image_blocks) + 1
        if variant == "wo_L":
            self.first["t"] = len(self.clip.text_blocks) + 1

    def rep_tokens(self, learned: dict[str, Tensor], modality: str, layer: int) -> Tensor:
        """R_i ``[K, d_modality]`` that stands before the 1-based layer; F_i(R) in the full model."""
        place, learner = layer - self.first[modality], "representation_learner"
        if self.variant == "wo_RS":
            return learned[f"{learner}.{'vision' if modality == 'v' else 'text'}_rep_tokens.{place}"]
        if self.variant == "biased":
            source, name = learned[f"{learner}.text_rep_tokens.{place}"], f"{learner}.text_rep_tokens_t2vproj.{place}"
            if modality == "t":
                return source
        else:
            name = f"{learner}.compound_rep_tokens_r2{modality}proj.{place}"
            source = learned[f"{learner}.compound_rep_tokens"]
        return F.linear(source, learned[f"{name}.weight"], learned[f"{name}.bias"])

    def features(self, learned: dict[str, Tensor], images: Tensor) -> dict[str, Any]:
        """f_c, f_r ``[B, d]``, w ``[C, d]`` and the frozen f_0, w_0; f_r is None without image tokens."""
        with torch.no_grad():
            f_0, w_0 = self.zero_shot.image_feature(images), self.zero_shot.text_feature(self.tokens)
        f_c, f_r = self.image_features(learned, images)
        return {"f_c": f_c, "f_r": f_r, "w": self.text_features(learned), "f_0": f_0, "w_0": w_0}

    def image_features(self, learned: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Any]:
        """f_c and f_r ``[B, d]``, None without image tokens."""
        x = self.clip.embed_images(images)
        count = 0
        for layer, block in enumerate(self.clip.image_blocks, start=1):
            if layer >= self.first["v"]:
                rep = self.rep_tokens(learned, "v", layer).expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], rep, x[:, 1 + count :]], dim=1)
                count = rep.shape[1]
            x = block(x)
        x = self.clip.norm("visual.ln_post", x)
        f_c = x[:, 0] @ self.clip.weights["visual.proj"]
        if count == 0:
            return F.normalize(f_c, dim=-1), None
        f_r = x[:, 1 : 1 + count].mean(dim=1) @ learned["image_encoder.proj_rep"]
        return F.normalize(f_c, dim=-1), F.normalize(f_r, dim=-1)

    def text_features(self, learned: dict[str, Tensor]) -> Tensor:
        x = self.clip.embed_text(self.tokens)
        count = 0
        for layer, block in enumerate(self.clip.text_blocks, start=1):
            if layer >= self.first["t"]:
                rep = self.rep_tokens(learned, "t", layer).expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], rep, x[:, 1 + count :]], dim=1)
                count = rep.shape[1]
            x = block(x, causal(x.shape[1], x))
        return self.clip.read_text(x, self.tokens.argmax(dim=-1) + count)

    def loss(self, learned: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """alpha L_ce^c + (1 - alpha) L_ce^r + lambda (L_cos^v + L_cos^t); L_ce^c alone where there is no f_r."""
        f = self.features(learned, images)
        fit = F.cross_entropy(100 * f["f_c"] @ f["w"].t(), labels)
        if f["f_r"] is not None:
            fit = self.alpha * fit + (1 - self.alpha) * F.cross_entropy(100 * f["f_r"] @ f["w"].t(), labels)
        return fit + self.reg_weight * (self.away(f["f_c"], f["f_0"]) + self.away(f["w"], f["w_0"]))

    def away(self, features: Tensor, frozen: Tensor) -> Tensor:
        """L_cos, or the mean absolute or squared difference of all values."""
        difference = features - frozen
        means = {"l1": difference.abs().mean(), "mse": difference.square().mean()}
        return means.get(self.regularizer, 1 - F.cosine_similarity(features, frozen).mean())

    def probabilities(self, learned: dict[str, Tensor], images: Tensor, both: bool) -> Tensor:
        """p(y | x) ``[B, C]``: seen classes with both features (where there are two), others with the class feature."""
        f = self.features(learned, images)
        class_part = (100 * f["f_c"] @ f["w"].t()).softmax(dim=-1)
        if not both or f["f_r"] is None:
            return class_part
        return self.alpha * class_part + (1 - self.alpha) * (100 * f["f_r"] @ f["w"].t()).softmax(dim=-1)
