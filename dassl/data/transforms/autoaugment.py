"""AutoAugment's three policies under their public names: torchvision's, with the public Dassl's grey around the image.

Source: Cubuk et al., AutoAugment, CVPR 2019.
"""

from __future__ import annotations

from torchvision import transforms as T


class _Policy(T.AutoAugment):
    name: T.AutoAugmentPolicy

    def __init__(self, fillcolor: tuple[int, int, int] = (128, 128, 128)) -> None:
        super().__init__(self.name, fill=list(fillcolor))


class ImageNetPolicy(_Policy):
    """The policy found on ImageNet."""

    name = T.AutoAugmentPolicy.IMAGENET


class CIFAR10Policy(_Policy):
    """The policy found on CIFAR-10."""

    name = T.AutoAugmentPolicy.CIFAR10


class SVHNPolicy(_Policy):
    """The policy found on SVHN."""

    name = T.AutoAugmentPolicy.SVHN
