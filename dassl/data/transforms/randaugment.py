"""RandAugment and its two relatives, with the public Dassl's operations, ranges and draws.

Operations, under their public names, take an 8-bit RGB image and a strength. Those with a direction (Rotate, Shear,
Translate) turn it round with probability 0.5. Draws come from Python's `random`, Cutout's place from NumPy's generator.

Sources: Cubuk et al., RandAugment, 2019; Sohn et al., FixMatch, 2020 (its Table 12 has the ranges).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Operation = tuple[Callable[[Image.Image, float], Image.Image], float, float]  # what, at least, at most

GREY = (125, 123, 114)  # Cutout's colour


def _either_way(v: float) -> float:
    return -v if random.random() > 0.5 else v


def _plain(operation: Callable[[Image.Image], Image.Image], img: Image.Image, _: float = 0) -> Image.Image:
    return operation(img)


def _enhanced(kind: Callable[[Image.Image], Any], img: Image.Image, v: float) -> Image.Image:
    return kind(img).enhance(v)


def _affine(place: int, side: int | None, img: Image.Image, v: float) -> Image.Image:
    """Map an image with `v`, either way, for one coefficient; with `side` (0: width, 1: height) `v` is a part of it."""
    coefficients: list[float] = [1, 0, 0, 0, 1, 0]
    coefficients[place] = _either_way(v) * (1 if side is None else img.size[side])
    return img.transform(img.size, Image.Transform.AFFINE, coefficients)


# Partial functions, not closures: loaders hand them to processes.
AutoContrast = partial(_plain, ImageOps.autocontrast)
Equalize = partial(_plain, ImageOps.equalize)
Flip = partial(_plain, ImageOps.mirror)
Invert = partial(_plain, ImageOps.invert)
# 0 is black, grey, an even grey and the smoothed image; 1 is the image.
Brightness = partial(_enhanced, ImageEnhance.Brightness)
Color = partial(_enhanced, ImageEnhance.Color)
Contrast = partial(_enhanced, ImageEnhance.Contrast)
Sharpness = partial(_enhanced, ImageEnhance.Sharpness)
ShearX, ShearY = partial(_affine, 1, None), partial(_affine, 3, None)
TranslateX, TranslateY = partial(_affine, 2, 0), partial(_affine, 5, 1)
TranslateXabs, TranslateYabs = partial(_affine, 2, None), partial(_affine, 5, None)


def Identity(img: Image.Image, v: float = 0) -> Image.Image:
    """Return the image."""
    return img


def Posterize(img: Image.Image, v: float) -> Image.Image:
    """Keep the highest `v` bits, rounded down but at least one."""
    return ImageOps.posterize(img, max(1, int(v)))


def Solarize(img: Image.Image, v: float) -> Image.Image:
    """Invert what is at least `v`."""
    return ImageOps.solarize(img, v)  # type: ignore[arg-type]


def SolarizeAdd(img: Image.Image, addition: float = 0, threshold: int = 128) -> Image.Image:
    """Add `addition`, then invert what is at least `threshold`."""
    brighter = np.clip(np.array(img).astype(int) + int(addition), 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(brighter), threshold)


def Rotate(img: Image.Image, v: float) -> Image.Image:
    """Rotate by `v` degrees either way."""
    return img.rotate(_either_way(v))


def Cutout(img: Image.Image, v: float) -> Image.Image:
    """Paint a grey square of the part `v` of the width at a random place; nothing where `v` is not positive."""
    return img if v <= 0 else CutoutAbs(img, v * img.size[0])


def CutoutAbs(img: Image.Image, v: float) -> Image.Image:
    """Paint a grey square of `v` pixels at a random place."""
    width, height = img.size
    # The public draws are NumPy's uniform(width) and uniform(height), which are between that and 1.
    left, top = (int(max(0, np.random.uniform(side) - v / 2)) for side in (width, height))
    img = img.copy()
    ImageDraw.Draw(img).rectangle((left, top, min(width, left + v), min(height, top + v)), GREY)
    return img


def randaugment_list() -> list[Operation]:
    """Return the operations of RandAugment, with their ranges."""
    return [
        *((AutoContrast, 0, 1), (Equalize, 0, 1), (Invert, 0, 1), (Rotate, 0, 30), (Posterize, 0, 4)),
        *((Solarize, 0, 256), (SolarizeAdd, 0, 110), (Color, 0.1, 1.9), (Contrast, 0.1, 1.9), (Brightness, 0.1, 1.9)),
        *((Sharpness, 0.1, 1.9), (ShearX, 0, 0.3), (ShearY, 0, 0.3), (CutoutAbs, 0, 40)),
        *((TranslateXabs, 0, 100), (TranslateYabs, 0, 100)),
    ]


def randaugment_list2() -> list[Operation]:
    """Return the operations of RandAugment2, with their ranges."""
    return [
        *((AutoContrast, 0, 1), (Brightness, 0.1, 1.9), (Color, 0.1, 1.9), (Contrast, 0.1, 1.9), (Equalize, 0, 1)),
        *((Identity, 0, 1), (Invert, 0, 1), (Posterize, 4, 8), (Rotate, -30, 30), (Sharpness, 0.1, 1.9)),
        *((ShearX, -0.3, 0.3), (ShearY, -0.3, 0.3), (Solarize, 0, 256)),
        *((TranslateX, -0.3, 0.3), (TranslateY, -0.3, 0.3)),
    ]


def fixmatch_list() -> list[Operation]:
    """Return the operations of FixMatch, with their ranges."""
    return [
        *((AutoContrast, 0, 1), (Brightness, 0.05, 0.95), (Color, 0.05, 0.95), (Contrast, 0.05, 0.95)),
        *((Equalize, 0, 1), (Identity, 0, 1), (Posterize, 4, 8), (Rotate, -30, 30), (Sharpness, 0.05, 0.95)),
        *((ShearX, -0.3, 0.3), (ShearY, -0.3, 0.3), (Solarize, 0, 256)),
        *((TranslateX, -0.3, 0.3), (TranslateY, -0.3, 0.3)),
    ]


class RandAugment:
    """Apply `n` random operations of `randaugment_list` at strength `m` of 30."""

    def __init__(self, n: int = 2, m: float = 10) -> None:
        self.n = n
        self.m = m
        self.augment_list = randaugment_list()

    def __call__(self, img: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(self.augment_list, k=self.n):
            img = operation(img, self.m / 30 * (high - low) + low)
        return img


class RandAugment2:
    """Apply `n` random operations of `randaugment_list2`, each with probability `p`, at random strengths."""

    def __init__(self, n: int = 2, p: float = 0.6) -> None:
        self.n = n
        self.p = p
        self.augment_list = randaugment_list2()

    def __call__(self, img: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(self.augment_list, k=self.n):
            if random.random() <= self.p:
                img = operation(img, random.random() * (high - low) + low)
        return img


class RandAugmentFixMatch:
    """Apply `n` random operations of `fixmatch_list` at random strengths."""

    def __init__(self, n: int = 2) -> None:
        self.n = n
        self.augment_list = fixmatch_list()

    def __call__(self, img: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(self.augment_list, k=self.n):
            img = operation(img, random.random() * (high - low) + low)
        return img
