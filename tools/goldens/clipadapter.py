"""CLIP-Adapter's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, train
from trainers.base import unit
from trainers.clipadapter import CLIPAdapterModel
from trainers.features import text_features

PREFIX = "adapter."  # of the names in the setting, which are those of the release's whole model


def build(setting: dict[str, Any], clip_model: CLIP) -> CLIPAdapterModel:
    """The adapter over the setting's classes."""
    config = setting["config"]
    text = text_features(clip_model, setting["classes"], [setting["template"]])
    model = CLIPAdapterModel(clip_model, text, config["ratio (literal)"], config["reduction (literal)"])
    fill_rival(setting, model, PREFIX)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features, first step, training curve on one batch, and evaluation after it."""
    images = images_of(setting)
    with torch.no_grad():
        raw = model.image_features(images)
        adapted = model.adapted(raw)
        arrays = arrays_of(
            {
                "logits": model.logits(adapted, model.class_features()),
                "image_features": adapted,
                "image_features_clip": unit(raw),
                "image_features_clip_raw": raw,
                "text_features": model.text,
            }
        )
    arrays |= train(setting, model, PREFIX)
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})
