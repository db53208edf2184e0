"""TCP's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, train
from trainers.context import image_features
from trainers.tcp import TCPModel
from trainers.templates import fill as fill_template

PREFIX = "prompt_learner."


def build(setting: dict[str, Any], clip_model: CLIP) -> TCPModel:
    """TCP as the setting has it."""
    templates = (setting["teacher_template"], setting["prompts"])
    prior, learned = (fill_template(template, setting["classes"]) for template in templates)
    model = TCPModel(clip_model, prior, learned)
    fill_rival(setting, model, PREFIX)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features, class-aware tokens, scores and terms of the loss, training on one batch, scores after it."""
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    with torch.no_grad():
        w, tokens = model.class_features(), model.class_tokens()
        logits = model.scores(images, w)
        before = {"logits": logits, "text_features": w, "text_features_clip": model.text_features_clip}
        before |= {"image_features": image_features(model.clip_model, images)}
        before |= {"class_tokens_head": tokens[..., :32], "class_tokens_norm": tokens.norm(dim=-1)}
        before |= {"loss/ce": F.cross_entropy(logits, labels), "loss/score": model.distance(w)}
    arrays = arrays_of(before) | train(setting, model, PREFIX)
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})
