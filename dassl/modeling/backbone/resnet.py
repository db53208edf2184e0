"""ResNets of torchvision without their classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision import models

from .backbone import Backbone
from .build import BACKBONE_REGISTRY


class TorchvisionResNet(Backbone):
    """Features before the classifier of torchvision's model `name`; ImageNet weights if `pretrained`."""

    def __init__(self, name: str, pretrained: bool = True) -> None:
        super().__init__()
        self.net: nn.Module = models.get_model(name, weights="DEFAULT" if pretrained else None)
        self._out_features = int(self.net.fc.in_features)  # type: ignore[union-attr, arg-type]
        self.net.fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to features `[B, out_features]`."""
        return self.net(x)


def _builder(name: str) -> Callable[..., TorchvisionResNet]:
    def build(pretrained: bool = True, **kwargs: Any) -> TorchvisionResNet:
        return TorchvisionResNet(name, pretrained)

    build.__name__ = name
    return BACKBONE_REGISTRY.register(build)


resnet18, resnet34 = _builder("resnet18"), _builder("resnet34")  # 512 features
resnet50, resnet101, resnet152 = _builder("resnet50"), _builder("resnet101"), _builder("resnet152")  # 2048
