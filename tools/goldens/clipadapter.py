"""CLIP-Adapter's golden numbers."""

from __future__ import annotations

from torch import Tensor

from tools.goldens.numbers import Numbers
from trainers.shared.cosine import l2_normalize


class CLIPAdapter(Numbers):
    """Image features, adapted and as frozen CLIP has them."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        raw = self.model.image_features(self.images)
        found = {"image_features_clip": l2_normalize(raw), "image_features_clip_raw": raw}
        return super().before() | found | {"image_features": self.model.adapted(raw)}
