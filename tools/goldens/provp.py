"""ProVP's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, train
from trainers.context import cosine_logits
from trainers.deep_prompts import ImageStart
from trainers.provp import TEMPLATES, ProVPModel
from trainers.templates import fill

PREFIX = "prompt_learner."  # the setting's; checkpoints have the learner alone


def build(setting: dict[str, Any], clip_model: CLIP) -> ProVPModel:
    """ProVP as the setting has it, with the data set's prompt."""
    config = setting["config"]
    prompts = fill(TEMPLATES[setting["dataset"]], setting["classes"])
    model = ProVPModel(clip_model, prompts, config["n_ctx"], config["use_ref"])
    fill_rival(setting, model, PREFIX)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features, terms, training on one batch, scores after it."""
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    with torch.no_grad():
        terms, logits = model.terms(images, labels)
        f_0 = ImageStart(model.clip_model.visual, images).frozen_feature()
        before = {
            "logits": logits,
            "image_features": model.image_features(images),
            "image_features_clip": f_0,
            "text_features": model.text_features,
            "logits_clip": cosine_logits(model.clip_model, f_0, model.text_features),
        }
    arrays = arrays_of(before | {f"loss/{name}": value for name, value in terms.items()}) | train(
        setting, model, PREFIX
    )
    name = f"{PREFIX}prompt_embeddings"
    arrays[f"gradnorm_layer/{name}"] = np.linalg.norm(arrays[f"grad/{name}"], axis=(1, 2))
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})
