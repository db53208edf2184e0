"""ResNets of torchvision without their classifier."""

from __future__ import annotations

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


@BACKBONE_REGISTRY.register()
def resnet18(pretrained: bool = True, **kwargs: Any) -> TorchvisionResNet:
    """Build a ResNet-18, 512 features."""
    return TorchvisionResNet("resnet18", pretrained)


@BACKBONE_REGISTRY.register()
def resnet34(pretrained: bool = True, **kwargs: Any) -> TorchvisionResNet:
    """Build a ResNet-34, 512 features."""
    return TorchvisionResNet("resnet34", pretrained)


@BACKBONE_REGISTRY.register()
def resnet50(pretrained: bool = True, **kwargs: Any) -> TorchvisionResNet:
    """Build a ResNet-50, 2048 features."""
    return TorchvisionResNet("resnet50", pretrained)


@BACKBONE_REGISTRY.register()
def resnet101(pretrained: bool = True, **kwargs: Any) -> TorchvisionResNet:
    """Build a ResNet-101, 2048 features."""
    return TorchvisionResNet("resnet101", pretrained)


@BACKBONE_REGISTRY.register()
def resnet152(pretrained: bool = True, **kwargs: Any) -> TorchvisionResNet:
    """Build a ResNet-152, 2048 features."""
    return TorchvisionResNet("resnet152", pretrained)
