"""Golden numbers of those who learn a context for the text tower: CoOp and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from tools.goldens.numbers import Numbers
from tools.goldens.recipe import arrays_of
from trainers.shared.context import initial_vectors
from trainers.shared.cosine import clip_image_features, cosine_distance, cosine_logits
from trainers.tcp import templates_of


class CoOp(Numbers):
    """The initial context, image features, and the cross-entropy."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, found = self.model, super().before()
        start = initial_vectors(model.clip_model, model.prompts.context, len(self.setting["classes"]))
        found |= {f"init/{self.prefix}ctx": start, "image_features": clip_image_features(model.clip_model, self.images)}
        return found | {"loss/ce": F.cross_entropy(found["logits"], self.labels)}


class CoCoOp(CoOp):
    """CoOp's arrays, the meta-net's, and text features of each image."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, found = self.model, super().before()
        f = found["image_features"]
        found |= {"meta_hidden_pre": model.meta_net.linear1(f), "meta_out": model.meta_net(f)}
        return found | {"text_features": model.prompts.features(model.contexts(f))}


class KgCoOp(CoOp):
    """CoOp's arrays, frozen CLIP's features and the distance to them."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, found = self.model, super().before()
        score = cosine_distance(found["text_features"], model.text_features_clip)
        return found | {"text_features_clip": model.text_features_clip, "loss/score": score}


class ProGrad(CoOp):
    """CoOp's arrays, those of the teacher, and both gradients before each step."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, found = self.model, super().before()
        of_clip = cosine_logits(model.clip_model, found["image_features"], model.text_features_clip)
        return found | {"text_features_clip": model.text_features_clip, "logits_clip": of_clip}

    def train(self) -> dict[str, np.ndarray]:
        """Both losses and gradients of the first step; the distance, and the gradients' cosine, before each."""
        self.seen: dict[str, Any] = {}
        self.distances: list[float] = []
        self.cosines: list[float] = []
        arrays = super().train() | arrays_of(self.seen)
        return arrays | {"losses_kl": np.array(self.distances), "cosine": np.array(self.cosines)}

    def before_step(self, step: int) -> None:
        """Look at both gradients."""
        model = self.model
        w = model.class_features()
        ours, to_clip, _ = model.losses(self.images, self.labels, w, w)
        (g_b,) = torch.autograd.grad(to_clip, model.ctx, retain_graph=True)
        (g_a,) = torch.autograd.grad(ours, model.ctx)
        self.distances.append(to_clip.item())
        self.cosines.append(F.cosine_similarity(g_a.flatten(), g_b.flatten(), dim=0).item())
        if step == 0:
            self.seen = {"loss/xe": ours, "loss/kl": to_clip}
            self.seen |= {f"grad_xe/{self.prefix}ctx": g_a, f"grad_kl/{self.prefix}ctx": g_b}


class TCP(Numbers):
    """Features, class-aware tokens and the loss's terms."""

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """The templates of both text features."""
        return dict(zip(("teacher_template", "prompts"), templates_of(cfg), strict=True))

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, found = self.model, super().before()
        tokens = model.class_tokens()
        found |= {"class_tokens_head": tokens[..., :32], "class_tokens_norm": tokens.norm(dim=-1)}
        found |= {"loss/ce": F.cross_entropy(found["logits"], self.labels)}
        found |= {"loss/score": cosine_distance(found["text_features"], model.text_features_clip)}
        found |= {"image_features": clip_image_features(model.clip_model, self.images)}
        return found | {"text_features_clip": model.text_features_clip}
