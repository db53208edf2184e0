"""ProGrad's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tools.goldens.coop import LEARNER, build, trained
from tools.goldens.recipe import arrays_of, images_of
from trainers.context import cosine_logits, image_features

__all__ = ["build", "recompute"]


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """CoOp's arrays, those of the teacher, and both gradients before each step."""
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    f = image_features(model.clip_model, images)
    before: dict[str, Any] = {
        "text_features": model.class_features(),
        "text_features_clip": model.text_features_clip,
        "logits_clip": cosine_logits(model.clip_model, f, model.text_features_clip),
    }
    distances, cosines = [], []

    def watch(step: int) -> None:
        w = model.class_features()
        ours, to_clip, _ = model.losses(images, labels, w, w)
        (g_b,) = torch.autograd.grad(to_clip, model.ctx, retain_graph=True)
        (g_a,) = torch.autograd.grad(ours, model.ctx)
        distances.append(to_clip.item())
        cosines.append(F.cosine_similarity(g_a.flatten(), g_b.flatten(), dim=0).item())
        if step == 0:
            before.update({"loss/xe": ours, "loss/kl": to_clip})
            before.update({f"grad_xe/{LEARNER}.ctx": g_a, f"grad_kl/{LEARNER}.ctx": g_b})

    arrays = trained(setting, model, watch)
    return arrays_of(before) | arrays | {"losses_kl": np.array(distances), "cosine": np.array(cosines)}
