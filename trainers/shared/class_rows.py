"""Methods that learn a row for each class beside its text feature, neither of unit length: TaskRes, CLAP.

Classes that were all trained on keep their rows, in any order and number (as the releases pick ImageNet-A's rows). For
other classes the releases define nothing: they are scored by their text features alone. Where both kinds are scored
side by side, a class that was trained on has its row, another one its text feature.

Shapes: C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clip.layers import no_autocast
from clip.model import CLIP

from .cosine import at_least_float32
from .features import encode_prompts, row_of_each, rows_among
from .method import DualEncoder
from .templates import IMAGENET_ENSEMBLE, template_of


class ClassRowsModel(DualEncoder):
    """Base of these methods. A subclass has ``weights``; all tensors of its ``state_dict`` have a row for each class.

    Args:
        clip_model: frozen CLIP.
        classnames: C names.
        base: text features ``[C, d]`` of these classes, kept as ``own``.
    """

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], base: Tensor):
        super().__init__(clip_model)
        self.classnames, self.own = list(classnames), base
        self.seen, self.named = True, True
        self.trained = self.classnames
        self.rows: list[int] = list(range(len(classnames)))  # by class, -1: it has none; empty: none of them has one

    def weights(self) -> Tensor:
        """Return class weights, one for each class trained on, not normalised."""
        raise NotImplementedError

    def raw_class_features(self) -> Tensor:
        """Return features ``[C, d]``: the learned weights, or those of text for classes without."""
        if not self.rows or not (self.seen or self.named):
            return self.own
        with no_autocast(self.own):
            w = self.weights()
            w = w if self.rows == list(range(len(w))) else w[self.rows]
            if min(self.rows) < 0:
                w = torch.where(torch.tensor(self.rows, device=w.device)[:, None] < 0, self.own, w)
            return w

    def use_classes(self, seen: bool) -> None:
        """Leave the rows out of classes that were not trained on, where a checkpoint does not name its classes."""
        self.seen = seen

    def use_all_classes(self) -> None:
        """Score each class by its row, one without by its text feature."""
        self.seen, self.rows = True, row_of_each(self.classnames, self.trained)

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on the number of a checkpoint's classes, and find those to score among them."""
        self.trained = self.classnames if classnames is None else list(classnames)
        self.named, self.rows = classnames is not None, rows_among(self.classnames, self.trained)
        for name, value in self.state_dict(keep_vars=True).items():
            if name not in tensors:
                continue  # a plug-in's
            if classnames is None and len(tensors[name]) != len(self.classnames):
                self.rows, self.trained = [], []
            value.data = value.new_zeros(len(tensors[name]), value.shape[1])


def raw_templates(cfg: Any) -> list[str]:
    """Return the templates whose features are averaged: the data set's, and for ImageNet seven more."""
    more = IMAGENET_ENSEMBLE if cfg.DATASET.NAME == "ImageNet" and not cfg.DATASET.TEMPLATE else ()
    return [*more, template_of(cfg)]


def mean_text_features(clip_model: CLIP, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return ``[C, d]``, at least float32: the mean of the templates' features as the text tower gives them.

    Class names keep their underscores.
    """
    prompts = ([template.format(name) for name in classnames] for template in templates)
    features = [encode_prompts(clip_model, texts) for texts in prompts]
    return at_least_float32(torch.stack(features)).mean(dim=0)
