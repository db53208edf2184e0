"""PromptSRC's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, train
from trainers.base import unit
from trainers.context import cosine_logits
from trainers.deep_prompts import ImageStart
from trainers.promptsrc import PromptSRCModel, Settings, epoch_weights


def build(setting: dict[str, Any], clip_model: CLIP) -> PromptSRCModel:
    """PromptSRC as the setting has it."""
    config = setting["config"]
    settings = Settings(
        config["n_ctx_vision"],
        config["n_ctx_text"],
        config["prompt_depth_vision"],
        config["prompt_depth_text"],
        config["ctx_init"],
        config["text_loss_weight"],
        config["image_loss_weight"],
    )
    model = PromptSRCModel(clip_model, setting["classes"], settings)
    fill_rival(setting, model)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features, terms, training on one batch, each step an epoch of the average; scores of both models after it."""
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    clip_model, config = model.clip_model, setting["config"]
    with torch.no_grad():
        terms, logits = model.terms(images, labels)
        f_0, w_0 = ImageStart(clip_model.visual, images).frozen_feature(), unit(model.teacher())
        before = {
            "logits": logits,
            "text_features": model.class_features(),
            "image_features": model.image_features(images),
            "text_features_clip": w_0,
            "image_features_clip": f_0,
            "logits_clip": cosine_logits(clip_model, f_0, w_0),
            "fixed_embeddings": model.teacher(),
        }
    arrays = arrays_of(before | {f"loss/{name}": value for name, value in terms.items()})
    weights = epoch_weights(setting["steps"], config["gpa_mean"], config["gpa_std"])
    average = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    seen = iter(weights)

    def add() -> None:
        weight = next(seen)
        for name, value in model.state_dict().items():
            average[name] += weight * value

    arrays |= train(setting, model, after_step=add) | {"gpa_weights": np.array(weights)}
    with torch.no_grad():
        arrays |= arrays_of({"eval_logits": model.scores(images, model.class_features())})
        model.load_state_dict(average)
        after = {"eval_logits_gpa": model.scores(images, model.class_features())}
    return arrays | arrays_of(after | {f"gpa/{name}": value for name, value in average.items()})
