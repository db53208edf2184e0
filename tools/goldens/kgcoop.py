"""KgCoOp's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.goldens.coop import build, trained
from tools.goldens.recipe import arrays_of

__all__ = ["build", "recompute"]


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """CoOp's arrays, frozen CLIP's features and the distance to them."""
    w = model.class_features()
    before = {"text_features": w, "text_features_clip": model.text_features_clip, "loss/score": model.distance(w)}
    return arrays_of(before) | trained(setting, model)
