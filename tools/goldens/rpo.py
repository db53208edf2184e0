"""RPO's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, train
from trainers.rpo import RPOModel


def build(setting: dict[str, Any], clip_model: CLIP) -> RPOModel:
    """RPO as the setting has it, with raw class names."""
    before, after = setting["config"]["prompt"].split("_")
    model = RPOModel(clip_model, [f"{before}{name}{after}" for name in setting["classes"]], setting["config"]["k"])
    fill_rival(setting, model)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features and scores, training on one batch, scores after it."""
    images = images_of(setting)
    with torch.no_grad():
        w = model.class_features()
        before = {"logits": model.scores(images, w), "text_features": w, "image_features": model.image_features(images)}
    arrays = arrays_of(before) | train(setting, model)
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})
