"""CoCoOp's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.goldens.coop import build, trained
from tools.goldens.recipe import arrays_of, images_of
from trainers.context import image_features

__all__ = ["build", "recompute"]


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """CoOp's arrays, the meta-net's, and text features of each image."""
    f = image_features(model.clip_model, images_of(setting))
    before = {
        "text_features": model.prompts.features(model.contexts(f)),
        "meta_hidden_pre": model.meta_net.linear1(f),
        "meta_out": model.meta_net(f),
    }
    return arrays_of(before) | trained(setting, model)
