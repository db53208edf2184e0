"""Digits: real handwritten digits, bundled with scikit-learn (from the UCI set of Alpaydin and Kaynak, 1998).

1797 grey images of 8x8 pixels, written as PNG files on first use, so that the whole pipeline runs where
nothing can be downloaded. The split is fixed: CoOp's rule (50/20/30% of each class) with a constant seed,
saved as ``split_zhou_Digits.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from uuid import uuid4

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .base import FolderLoader
from .files import folder_names, read_json_object, write_atomically

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MANIFEST = "manifest.json"


@DATASET_REGISTRY.register()
class Digits(FolderLoader):
    """10 classes in numerical order: base zero to four, new five to nine."""

    folder = "digits"
    images = "images"
    published = False

    def class_folders(self) -> Sequence[str]:
        return CLASSES

    def prepare(self) -> None:
        """Write the images if the folder is missing, and see that they are unchanged.

        Raises:
            ValueError: images and manifest do not agree.
        """
        if not folder_names(self.dataset_dir):
            write_once(self.dataset_dir)
        manifest = os.path.join(self.dataset_dir, MANIFEST)
        if not os.path.isfile(manifest) or read_json_object(manifest) != describe(self.image_dir):
            raise ValueError(
                f"{self.name}: {self.image_dir} does not agree with {MANIFEST}: delete {self.dataset_dir},"
                " it will be written again"
            )


def write_once(folder: str) -> None:
    """Write images and manifest under a temporary name, then rename: the fastest process wins."""
    partial = f"{folder}.{uuid4().hex}.incomplete"
    try:
        write_images(os.path.join(partial, Digits.images))
        manifest = describe(os.path.join(partial, Digits.images))
        write_atomically(os.path.join(partial, MANIFEST), json.dumps(manifest, indent=4))
        os.rename(partial, folder)
        print(f"Digits: wrote {manifest['images']} images to {folder}")
    except OSError:
        if not os.path.isdir(folder):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_images(folder: str) -> None:
    """Write ``{class}/{position in scikit-learn's list}.png``, grey values 0..16 spread over 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for name in CLASSES:
        os.makedirs(os.path.join(folder, name))
    pixels = (digits.images * (255 / 16)).round().astype("uint8")
    for position, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        Image.fromarray(image).save(os.path.join(folder, CLASSES[label], f"{position:04d}.png"))


def describe(folder: str) -> dict[str, int | str]:
    """Number of images under the class folders, and one SHA-256 over their names and bytes."""
    digest = hashlib.sha256()
    count = 0
    for name in CLASSES:
        for file in sorted(folder_names(os.path.join(folder, name))):
            if file.startswith("."):
                continue
            with open(os.path.join(folder, name, file), "rb") as image:
                digest.update(f"{name}/{file}\0".encode() + image.read())
            count += 1
    return {"images": count, "sha256": digest.hexdigest()}
