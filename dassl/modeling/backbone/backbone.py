"""Interface of backbones."""

from __future__ import annotations

from torch import nn


class Backbone(nn.Module):
    """A network from images `[B, 3, H, W]` to features `[B, out_features]`."""

    def __init__(self) -> None:
        super().__init__()
        self._out_features = 0

    @property
    def out_features(self) -> int:
        """Width of the features."""
        return self._out_features
