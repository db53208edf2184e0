"""DAC: Distance-Aware Calibration (Wang, Wang, Wang, Li, An and Wei, ICML 2024). No images are needed.

With d_zs the mean distance of class i's zero-shot text feature to the K nearest ones of the classes trained on, and
d_ft the same of the learned class features, both of unit length,

    gamma_i = exp(-d_ft) / exp(-d_zs), and 1 where the nearest learned feature is closer than 0.05,

and an image's scores are multiplied by gamma of its predicted class. Predictions do not change; classes that the
learned features moved away from those trained on lose confidence. After a temperature: ``[Temperature, DAC]``.

Class features are those that the host names as one per class. As in the official code, sums are divided by K even
where fewer classes were trained on, and DTD has a template of its own. There the zero-shot features of the classes
trained on are those of a run of zero-shot CLIP, here those of the same templates.

Shapes: C classes, N classes trained on, d joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clip.layers import no_autocast

from ..shared.cosine import at_least_float32
from ..shared.features import template_features
from ..shared.templates import template_of
from .contract import Labelled, Plugin, Seen, logits_of, scores_of

OWN_TEMPLATES = {"DescribableTextures": "a photo of a {}, a type of texture."}
_TRAINED_ON = 0.05  # a class whose nearest learned feature is closer than this is one of those trained on


class DAC(Plugin):
    """``base_zero_shot`` and ``base_tuned`` ``[N, d]``: features of the classes trained on, kept in the checkpoint."""

    zero_shot: Tensor  # [C, d], of the classes that are scored
    base_zero_shot: Tensor
    base_tuned: Tensor

    def __init__(self, host: Any, cfg: Any, classnames: Sequence[str]):
        super().__init__(host, cfg, classnames)
        texts = template_features(host.clip_model, classnames, [template_of(cfg, OWN_TEMPLATES)])
        self.register_buffer("zero_shot", at_least_float32(texts), persistent=False)
        self.register_buffer("base_zero_shot", self.zero_shot.clone())
        self.register_buffer("base_tuned", torch.zeros_like(self.zero_shot))
        self.fitted = False

    @classmethod
    @torch.no_grad()
    def refusal(cls, host: Any, cfg: Any) -> str:
        """Return why a host's classes cannot be compared, or ""."""
        one = host.one_feature_per_class(host.class_features())
        return "" if one is not None else "it has no class features [C, d] to measure distances of"

    def scores(self, seen: Seen, scores: Tensor) -> Tensor:
        """Return scores ``[B, C]``, each row times gamma of its largest; as they are before it is fitted."""
        if not self.fitted:
            return scores
        with no_autocast(scores):
            gamma = self.gamma(self._tuned(seen))[scores.argmax(dim=1), None]
            return scores_of(seen.host, logits_of(seen.host, scores) * gamma, scores)

    def gamma(self, features: Tensor) -> Tensor:
        """Return the factor ``[C]`` of each class, from unit learned features ``[C, d]``."""
        tuned = self._nearest(features, self.base_tuned)
        zero_shot = self._nearest(self.zero_shot, self.base_zero_shot)
        k = self.settings.k
        gamma = ((zero_shot.sum(dim=1) - tuned.sum(dim=1)) / k).exp()
        return gamma.where(tuned[:, 0] >= _TRAINED_ON, 1.0)

    def fit(self, batches: Callable[[], Iterable[Labelled]]) -> None:
        """Keep the learned features of the classes trained on."""
        self.base_tuned.copy_(self._tuned(next(iter(batches())).seen))
        self.fitted = True

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on the number of the classes trained on."""
        self.fitted = True
        for name in ("base_zero_shot", "base_tuned"):
            value = self.get_buffer(name)
            value.data = value.new_zeros(len(tensors.get(name, value)), value.shape[1])

    @staticmethod
    def _tuned(seen: Seen) -> Tensor:
        features: Tensor = seen.host.one_feature_per_class(seen.class_features)
        return features

    def _nearest(self, features: Tensor, base: Tensor) -> Tensor:
        """Return the distances ``[C, K]`` to the K nearest, or to all where there are fewer, in ascending order."""
        distances = torch.cdist(features, base, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.topk(min(self.settings.k, len(base)), largest=False).values
