"""MMA's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, train
from trainers.context import image_features, text_features
from trainers.mma import MMAModel, Settings
from trainers.templates import fill as fill_template

PREFIX = "adapter_learner."


def build(setting: dict[str, Any], clip_model: CLIP) -> MMAModel:
    """MMA as the setting has it."""
    numbers = setting["config"]
    settings = Settings(*(numbers[f"adapter_{key}"] for key in ("start", "end", "dim", "scale")))
    model = MMAModel(clip_model, _prompts(setting), settings)
    fill_rival(setting, model, PREFIX)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features and scores, training on one batch, scores after it."""
    images = images_of(setting)
    with torch.no_grad():
        w, f = model.class_features(), model.image_features(images)
        before = {"logits": model.scores(images, w), "text_features": w, "image_features": f}
        before["text_features_clip"] = text_features(model.clip_model, _prompts(setting))
        before["image_features_clip"] = image_features(model.clip_model, images)
    arrays = arrays_of(before) | train(setting, model, PREFIX)
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})


def _prompts(setting: dict[str, Any]) -> list[str]:
    return fill_template(f"{setting['config']['text_ctx_init']} {{}}.", setting["classes"])
