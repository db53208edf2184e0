"""Digits: real handwritten digits, bundled with scikit-learn (from the UCI set of Alpaydin and Kaynak, 1998).

1797 grey images of 8x8 pixels, written as PNG files on first use, so that the whole pipeline runs where
nothing can be downloaded. The split is fixed: CoOp's rule (50/20/30% of each class) with a constant seed,
saved as ``split_zhou_Digits.json``.
"""

from __future__ import annotations

import os

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .shared.written import WrittenLoader

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@DATASET_REGISTRY.register()
class Digits(WrittenLoader):
    """10 classes in numerical order: base zero to four, new five to nine."""

    folder = "digits"
    classes = CLASSES

    @classmethod
    def write_images(cls, folder: str) -> None:
        write_images(folder)


def write_images(folder: str) -> None:
    """Write ``{class}/{position in scikit-learn's list}.png``, grey values 0..16 spread over 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for name in CLASSES:
        os.makedirs(os.path.join(folder, name))
    pixels = (digits.images * (255 / 16)).round().astype("uint8")
    for position, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        Image.fromarray(image).save(os.path.join(folder, CLASSES[label], f"{position:04d}.png"))
