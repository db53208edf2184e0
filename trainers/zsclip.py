"""Zero-shot CLIP (Radford et al., 2021): hand-written prompts, nothing is learned.

``ZeroshotCLIP`` uses the data set's template; its numbers are the CLIP rows of the paper's tables. ``ZeroshotCLIP2``
averages seven ImageNet templates and, on any data set but ImageNet, the data set's own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.features import template_features
from .shared.method import Method
from .shared.templates import IMAGENET_ENSEMBLE, template_of


class ZeroshotModel(Method):
    """Cosine similarity with the mean of each class's prompt features."""

    def __init__(self, clip_model: CLIP, classnames: list[str], templates: Sequence[str]):
        super().__init__(clip_model)
        self.classnames, self.templates = classnames, templates

    def class_features(self) -> Tensor:
        """Return features ``[C, d]``: those of each template normalised, averaged, normalised again."""
        return template_features(self.clip_model, self.classnames, self.templates)


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(CLIPTrainer):
    """CLIP with the data set's template."""

    on_frozen_features = True

    @classmethod
    def precision_of(cls, cfg: Any) -> str:
        """Return fp16 on CUDA, fp32 elsewhere."""
        return "fp16" if cfg.USE_CUDA and torch.cuda.is_available() else "fp32"

    @classmethod
    def templates(cls, cfg: Any) -> list[str]:
        """Return the prompts whose features are averaged."""
        return [template_of(cfg)]

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ZeroshotModel:
        """Return the classifier over these classes."""
        return ZeroshotModel(clip_model, classnames, cls.templates(cfg))

    def train(self) -> None:  # type: ignore[override]
        """Evaluate at once: nothing is learned."""
        self.time_start = time.time()
        self.after_train()

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Say that nothing was learned, so that there is nothing to load."""
        print(f"{self.cfg.TRAINER.NAME} learns nothing: no checkpoint is loaded")


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """CLIP with an ensemble of templates."""

    @classmethod
    def templates(cls, cfg: Any) -> list[str]:
        """Return seven ImageNet templates and, elsewhere, the data set's own."""
        return [*IMAGENET_ENSEMBLE, *([] if cfg.DATASET.NAME == "ImageNet" else [template_of(cfg)])]
