"""TaskRes, plainly: w = t + a x, both sides of the cosine normalised after the sum."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reference import Reference
from trainers import taskres
from trainers.shared.class_rows import mean_text_features, raw_templates
from trainers.shared.templates import IMAGENET_ENSEMBLE

from .shared.numbers import Numbers
from .shared.official import JOINT, Command, Official
from .shared.plain import Learned, Plain, Weights, mean_raw_text
from .shared.recipe import fill


class PlainTaskRes(Plain):
    """The learned ``text_feature_residuals`` x are ``[C, d]``; t is computed once, as in the authors' file."""

    def __init__(self, weights: Weights, names: list[str], templates: list[str], scale: float):
        super().__init__(weights)
        self.a, self.base = scale, mean_raw_text(self.clip, weights, names, templates)

    def class_features(self, learned: Learned) -> Tensor:
        """``[C, d]``, of unit length."""
        return F.normalize(self.base + self.a * learned["text_feature_residuals"], dim=-1)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainTaskRes:
    """Build the equations."""
    return PlainTaskRes(weights, names, raw_templates(cfg), cfg.TRAINER.TaskRes.RESIDUAL_SCALE)


class Golden(Numbers):
    """The bases, plain, of ImageNet's templates and enhanced, and the scores with them."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        model, setting = self.model, self.setting
        clip_model, names, residuals = model.clip_model, setting["classes"], model.text_feature_residuals.data
        found = {key: value for key, value in super().before().items() if key != "text_features"}
        found["loss/ce"] = F.cross_entropy(found["logits"], self.labels)
        found["image_features"] = clip_model.encode_image(self.images)
        found["base_text_features"] = model.base_text_features.clone()
        imagenet = [*IMAGENET_ENSEMBLE, "a photo of a {}."]
        found["base_text_features_imagenet"] = mean_text_features(clip_model, names, imagenet)
        sizes = setting["clip"]
        weight = fill("enhanced_text_projection.weight", (sizes["embed"], sizes["tw"]), sizes["tw"] ** -0.5)
        with taskres.text_projection(clip_model, weight):
            found["base_text_features_enhanced"] = mean_text_features(clip_model, names, raw_templates(self.cfg))
        for kind, base, x in (
            ("zs", found["base_text_features"], torch.zeros_like(residuals)),
            ("enhanced", found["base_text_features_enhanced"], residuals),
        ):
            other = taskres.TaskResModel(clip_model, names, base, model.scale)
            other.text_feature_residuals.data = x
            found[f"logits_{kind}"] = other.scores(self.images, other.class_features())
        return found


LEARNED = {"text_feature_residuals": (5, JOINT), "base_text_features": (5, JOINT)}
STEM = "adam_lr2e-3_B256_ep200"

TaskRes = Reference(
    plain,
    draw=lambda pick, vision, text: {"TRAINER.TaskRes.RESIDUAL_SCALE": pick([0.0, 0.5, 1.0, 2.0])},
    toy={"TRAINER.TaskRes.RESIDUAL_SCALE": 0.5},
    beside=frozenset({"base_text_features"}),
    numbers=Golden,
    never_drawn="text_feature_residuals$",
    checkpoints=(Official(STEM, "prompt_learner", 200, LEARNED, dtype=torch.float32, optimizer=torch.optim.Adam),),
    commands=(
        Command(STEM, "DATASET.NUM_SHOTS 16 TRAINER.TaskRes.RESIDUAL_SCALE 0.5", ("TaskRes.RESIDUAL_SCALE", 0.5)),
    ),
)
