"""DePT: Decoupled Prompt Tuning (Zhang, Wu, Gao, Shen and Song, CVPR 2024).

Beside the host's cosine scores z_s of its features t ``[C, d]`` and v ``[B, d]`` there is a linear head of their own,
in front of which each channel is scaled and shifted. Of features as the towers give them, not of unit length,

    t' = a_t t + b_t,  v' = a_v v + b_v,  z_c = W x + b,
    loss = (1 - lambda) CE(z_s, y) + lambda CE(z_c of [t'_y; v'], [y; y]) + what else the host's loss has, unscaled.

Classes that were all trained on are scored by (1 - lambda) z_s + lambda z_c(v'), raw scores; other classes by z_s.

As in the official code, which has CoOp, CoCoOp, KgCoOp and MaPLe as hosts: LINEAR_PROBE_TYPE similarity puts the
cosine logits of t' and v' in the head's place (B rows, no text rows); ImageNet's variants, whose classes are some of
those trained on, are scored by both. DePT's tensors learn LR_EXP times as fast as the host's. Other than
there: all tensors are float32 in every precision; training on all classes of any data set has the head, where the
official code has it on ImageNet alone and stops elsewhere; there is no CoCoOp, whose class features depend on images.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.layers import no_autocast

from ..shared.cosine import at_least_float32, l2_normalize
from ..shared.features import rows_among
from .contract import Plugin, Seen, Step


class FiLM(nn.Module):
    """A scale and a shift of each channel, 1 and 0 at the start."""

    def __init__(self, width: int):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


class DePT(Plugin):
    """Channels' scales and shifts of both features, and the head over the classes trained on.

    Tensors: ``film_lp_img``, ``film_lp_text`` (``scale`` and ``bias`` ``[d]``), ``linear_probe_proj`` (``[C, d]``,
    ``[C]``), under their official names.
    """

    needs = ("features",)

    def __init__(self, host: Any, cfg: Any, classnames: Sequence[str]):
        super().__init__(host, cfg, classnames)
        width, settings = host.clip_model.text_projection.shape[1], self.settings
        self.lr_factor = settings.lr_exp
        self.film_lp_img, self.film_lp_text = (
            FiLM(width) if settings.film_linear_probe else nn.Identity() for _ in range(2)
        )
        self.linear_probe_proj = nn.Linear(width, len(classnames)) if settings.linear_probe_type == "linear" else None
        self.seen, self.named = True, False  # named: by a checkpoint
        self.rows: list[int] = list(range(len(classnames)))  # by class; empty: these classes have none in the head

    def loss(self, step: Step, loss: Tensor) -> Tensor:
        """Return the loss so far, with lambda of its cross-entropy given over to the second branch."""
        labels, share = step.labels, self.settings.linear_probe_weight
        with no_autocast(step.scores):
            text, image = self.film_lp_text(_wide(step.class_features)), self.film_lp_img(_wide(step.image_features))
            if self.linear_probe_proj is None:
                second = F.cross_entropy(step.host.scores_of(image, l2_normalize(text)), labels)
            else:
                rows = torch.cat([text[labels], image])
                second = F.cross_entropy(self.linear_probe_proj(rows), labels.repeat(2))
            return loss + share * (second - F.cross_entropy(step.scores, labels))

    def scores(self, seen: Seen, scores: Tensor) -> Tensor:
        """Return both branches' scores ``[B, C]``, or those so far for classes that were not trained on."""
        if not self.rows or not (self.seen or self.named):
            return scores
        share = self.settings.linear_probe_weight if self.settings.test_time_fusion else 1.0
        with no_autocast(scores):
            image = self.film_lp_img(_wide(seen.image_features))
            if self.linear_probe_proj is None:
                second = seen.host.scores_of(image, l2_normalize(self.film_lp_text(_wide(seen.class_features))))
            else:
                second = self.linear_probe_proj(image)[:, self.rows]
            return (1 - share) * scores + share * second

    def use_classes(self, seen: bool) -> None:
        """Leave the head out for classes that were not trained on, where a checkpoint does not name its classes."""
        self.seen = seen

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on the number of a checkpoint's classes, and find those to score among them."""
        trained = self.classnames if classnames is None else list(classnames)
        self.named, self.rows = classnames is not None, rows_among(self.classnames, trained)
        if self.linear_probe_proj is None:
            return
        for name, value in self.linear_probe_proj.named_parameters():
            count = len(tensors.get(f"linear_probe_proj.{name}", value))
            if classnames is None and count != len(trained):
                self.rows = []
            value.data = value.new_zeros(count, *value.shape[1:])


def _wide(features: Tensor | None) -> Tensor:
    assert features is not None  # a host that offers "features" has them
    return at_least_float32(features)
