"""Augmentations that torchvision does not have."""

from __future__ import annotations

import random

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import functional as F


def random_index(high: int) -> int:
    """Return a random integer in [0, high) from torch's generator, which loaders seed per worker."""
    return int(torch.randint(high, ()))


class Random2DTranslation:
    """With probability `p`, resize an image to 9/8 of the target and cut the target out at a random place.

    Draws come from Python's `random`: whether, then the place along the width, then along the height.
    """

    def __init__(
        self, height: int, width: int, p: float = 0.5, interpolation: T.InterpolationMode = T.InterpolationMode.BILINEAR
    ) -> None:
        self.height = height
        self.width = width
        self.p = p
        self.interpolation = interpolation

    def __call__(self, image: Image.Image) -> Image.Image:
        size = [self.height, self.width]
        if random.uniform(0, 1) > self.p:
            return F.resize(image, size, self.interpolation)
        big = [round(side * 1.125) for side in size]
        left, top = (round(random.uniform(0, big[axis] - size[axis])) for axis in (1, 0))
        return F.crop(F.resize(image, big, self.interpolation), top, left, self.height, self.width)


class Cutout:
    """Set `n_holes` squares of side `length` at random places of an image `[C, H, W]` to zero.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
    """

    def __init__(self, n_holes: int = 1, length: int = 16) -> None:
        self.n_holes = n_holes
        self.length = length

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        image = image.clone()
        for _ in range(self.n_holes):
            top = random_index(height) - self.length // 2
            left = random_index(width) - self.length // 2
            image[:, max(top, 0) : max(top + self.length, 0), max(left, 0) : max(left + self.length, 0)] = 0
        return image


class GaussianNoise:
    """With probability `p`, which Python's `random` draws, add torch's Gaussian noise to an image `[C, H, W]`."""

    def __init__(self, mean: float = 0.0, std: float = 0.15, p: float = 0.5) -> None:
        self.mean = mean
        self.std = std
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        if random.uniform(0, 1) > self.p:
            return image
        return image + (torch.randn_like(image) * self.std + self.mean)


class InstanceNormalization:
    """Bring every channel of an image `[C, H, W]` to mean 0 and standard deviation 1."""

    def __init__(self, eps: float = 1e-8) -> None:
        self.eps = eps

    def __call__(self, image: Tensor) -> Tensor:
        flat = image.flatten(1)
        mean, std = flat.mean(1), flat.std(1)
        return (image - mean[:, None, None]) / (std[:, None, None] + self.eps)
