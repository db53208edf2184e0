"""PLOT++'s golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, fill, images_of, usual_std
from tools.goldens.steps import fill_rival, train
from trainers.plot import PHRASES, PLOTModel
from trainers.transport import Sinkhorn


def build(setting: dict[str, Any], clip_model: CLIP) -> PLOTModel:
    """Either stage, as the setting has it; what it fills without learning it is filled too."""
    config = setting["config"]
    sinkhorn = Sinkhorn(config["eps"], config["max_iter"], config["thresh"])
    vision_only, trade_off = config["model_upd"] == "vision", config["trade_off"]
    phrases = PHRASES[setting["dataset"]]
    model = PLOTModel(
        *(clip_model, setting["classes"], phrases, config["m"], vision_only, trade_off, sinkhorn),
        view_tokens=config["n_ctx_v"],
    )
    fill_rival(setting, model)
    kept = dict(model.named_buffers())
    for name, shape in setting["frozen_filled"].items():
        kept[name].copy_(fill(name, shape, usual_std(name, shape)))
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features and plans, first step, training curve on one batch, and evaluation after it."""
    images = images_of(setting)
    with torch.no_grad():
        image, text = model.image(images), model.class_features()
        arrays = arrays_of(
            {
                "logits": model.logits(image, text),
                "image_features": image.each,
                "image_features_pool": image.mean,
                "text_features": text.each,
                "text_features_pool": text.mean,
                "transport": model.sinkhorn.plan(model.cosines(image, text)),
            }
        )
    arrays |= train(setting, model)
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})
