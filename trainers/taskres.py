"""TaskRes: Task Residual for Tuning Vision-Language Models (Yu et al., CVPR 2023).

Each class has a learned residual beside its frozen text feature: w = t + a x, with x zero at the start, so that the
first scores are those of zero-shot CLIP. Both sides of the cosine are normalised after the sum; the image tower is
frozen.

Facts of the authors' release: t is the mean of the templates' features, none of them normalised (a normalised t would
let x act several times stronger); class names keep their underscores in prompts; ImageNet has eight templates; Adam
adds Dassl's weight decay of 5e-4 to x's gradient. ``ENHANCED_BASE`` names one of the authors' checkpoints, whose
``weight`` replaces CLIP's text projection before t is computed; there that happens under ``PREC fp16`` alone, here
always. There fp16 is the precision in which t is computed, and all else is float32; here it is CLIP's.

Classes that were all trained on keep their residuals, in any order and number (as the release picks ImageNet-A's rows).
For other classes the release defines nothing, and its authors expect little: they are scored by t alone.

Shapes: B images, C classes, d joint width, d_t text width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip.draws import Draw
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared import checkpoints
from .shared.base import CLIPTrainer
from .shared.class_rows import ClassRowsModel, mean_text_features, raw_templates
from .shared.official_stream import a_clip

NO_BASE = "none"


class TaskResModel(ClassRowsModel):
    """The residuals ``text_feature_residuals`` ``[C, d]``, and t kept beside them, ``base_text_features`` ``[C, d]``.

    Args:
        clip_model: frozen CLIP.
        classnames: C names.
        base: t, not normalised.
        scale: a.
    """

    base_text_features: Tensor

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], base: Tensor, scale: float):
        super().__init__(clip_model, classnames, base)
        self.scale = scale
        self.register_buffer("base_text_features", base.clone())
        self.text_feature_residuals = nn.Parameter(torch.zeros_like(base))

    def weights(self) -> Tensor:
        """Return t + a x."""
        return torch.add(self.base_text_features, self.text_feature_residuals, alpha=self.scale)


@contextmanager
def text_projection(clip_model: CLIP, weight: Tensor | None) -> Iterator[None]:
    """Put the transpose of ``weight`` ``[d, d_t]`` in the place of CLIP's text projection for a while."""
    if weight is None:
        yield
        return
    kept = clip_model.text_projection.data
    clip_model.text_projection.data = weight.t().to(kept)
    try:
        yield
    finally:
        clip_model.text_projection.data = kept


def enhanced_projection(path: str, clip_model: CLIP) -> Tensor | None:
    """Return ``weight`` ``[d, d_t]`` of an enhanced base's checkpoint, or None for "none".

    Raises FileNotFoundError, or ValueError naming the file, where it is damaged or has no such tensor, or where the
    backbone is no CLIP.
    """
    if path == NO_BASE:
        return None
    if not isinstance(clip_model, CLIP):
        raise ValueError("TRAINER.TaskRes.ENHANCED_BASE is a text projection of CLIP's, and this backbone is no CLIP")
    shape = clip_model.text_projection.shape[::-1]
    tensors, _ = checkpoints.read(Path(path).expanduser())
    weight = tensors.get("weight")
    if weight is None or tuple(weight.shape) != tuple(shape):
        found = "no weight" if weight is None else f"a weight {list(weight.shape)}"
        raise ValueError(f"TRAINER.TaskRes.ENHANCED_BASE {path} has {found}: for this CLIP it must be {list(shape)}")
    return weight


@TRAINER_REGISTRY.register()
class TaskRes(CLIPTrainer):
    """Trainer of TaskRes."""

    registered_name = "prompt_learner"
    on_frozen_features = True
    shape_settings = ("RESIDUAL_SCALE", "ENHANCED_BASE")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> TaskResModel:
        """Return zero residuals beside the features of these classes; ImageNet's are those of eight templates."""
        settings = cls.settings_of(cfg)
        weight = enhanced_projection(settings.enhanced_base, clip_model)
        with text_projection(clip_model, weight):
            base = mean_text_features(clip_model, classnames, raw_templates(cfg))
        return TaskResModel(clip_model, classnames, base, settings.residual_scale)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP: the residuals start at zero."""
        yield from a_clip(model)
