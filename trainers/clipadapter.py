"""CLIP-Adapter: Better Vision-Language Models with Feature Adapters (Gao et al., arXiv 2110.04544, IJCV 2024).

A bottleneck of two linear maps, each followed by ReLU, changes the image feature: f' = r A(f) + (1 - r) f, with f as
the frozen tower gives it, not normalised. The text side is frozen and constant: computed once.

Facts of the authors' release (one file, without configuration): only this visual adapter; r = 0.2 and reduction 4 are
literals there, and the widths those of RN50. The paper searches r per data set; the release does not. A(f) >= 0, since
the last ReLU stays. The release trains in float32. It does not define base to new; the adapter knows no class, so
others' features take the place of those trained on.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from clip.draws import Draw
from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.cosine import frozen_features, l2_normalize
from .shared.features import template_features
from .shared.method import Method
from .shared.official_stream import a_clip, one_linear
from .shared.templates import template_of


class CLIPAdapterModel(Method):
    """The adapter over frozen CLIP, under the release's names ``fc.0.weight`` and ``fc.2.weight``.

    Args:
        clip_model: frozen CLIP.
        text: unit class features ``[C, d]``.
        ratio: r.
        reduction: the bottleneck has d // reduction units.

    Raises ValueError for a bottleneck without units.
    """

    changes_image_feature = True

    def __init__(self, clip_model: CLIP, text: Tensor, ratio: float = 0.2, reduction: int = 4):
        super().__init__(clip_model)
        width = text.shape[1]
        if not 1 <= reduction <= width:
            raise ValueError(f"TRAINER.CLIPADAPTER.REDUCTION must lie between 1 and the width {width}, not {reduction}")
        self.text, self.ratio = text, ratio
        self.fc = nn.Sequential(
            nn.Linear(width, width // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(width // reduction, width, bias=False),
            nn.ReLU(),
        )

    def image_features(self, images: Tensor) -> Tensor:
        """Return the unit features ``[B, d]`` of r A(f) + (1 - r) f."""
        return self.adapted(frozen_features(self.clip_model, images))

    def adapted(self, features: Tensor) -> Tensor:
        """Return the unit features of r A(f) + (1 - r) f for f ``[B, d]``."""
        with no_autocast(features):
            return l2_normalize(self.ratio * self.fc(features) + (1 - self.ratio) * features)

    def class_features(self) -> Tensor:
        """Return the frozen class features ``[C, d]``."""
        return self.text


@TRAINER_REGISTRY.register()
class CLIPAdapter(CLIPTrainer):
    """Trainer of CLIP-Adapter; its official registry name is ``CLIP_Adapter``."""

    registered_name = "clip_adapter"
    on_frozen_features = True
    shape_settings = ("REDUCTION",)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> CLIPAdapterModel:
        """Return the adapter, and these classes' features with the data set's template."""
        settings, text = cls.settings_of(cfg), template_features(clip_model, classnames, [template_of(cfg)])
        return CLIPAdapterModel(clip_model, text, settings.ratio, settings.reduction)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the two maps."""
        yield from (*a_clip(model), *one_linear(model, "fc.0"), *one_linear(model, "fc.2"))
