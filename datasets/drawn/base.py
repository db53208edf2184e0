"""Data sets that the project draws itself, from the fonts that matplotlib bundles: for demonstrations and tests.

Nothing in them comes from a published data set, and no result on them compares with a published one. A picture depends
on the data set's name, `VERSION`, its class and its number only. Train, validation and test pictures have the same
fonts, and a seed each.
"""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from ..imagenet import test_only
from ..shared.files import Item, Splits, class_files
from ..shared.written import WrittenLoader, describe
from .drawing import Char, Look, draw

VERSION = 1  # to be raised whenever any picture changes


class DrawnLoader(WrittenLoader):
    """A data set of drawn pictures, of which a fixed number in each class are for training, validation and testing."""

    glyphs: dict[str, tuple[Char, ...]] = {}
    """The characters that show each class; a picture has one of them, each as likely."""
    look = Look()
    counts = (32, 8, 50)
    """Train, validation and test pictures of a class."""
    pixels = ""
    """SHA-256 over all grey values, as `docs/embedded-suite.md` has its numbers of them."""

    def __init_subclass__(cls) -> None:
        cls.classes = tuple(cls.glyphs)

    @classmethod
    def write_images(cls, folder: str) -> None:
        """Draw ``{class}/{number}.png``."""
        for name, chars in cls.glyphs.items():
            os.makedirs(os.path.join(folder, name))
            for number in range(sum(cls.counts)):
                rng = np.random.RandomState(seed_of(cls.__name__, name, number))
                picture = draw(chars[rng.randint(len(chars))], cls.look, rng)
                picture.save(os.path.join(folder, name, f"{number:03d}.png"))

    @classmethod
    def made(cls, folder: str) -> dict[str, Any]:
        """Return the version, the SHA-256 of the grey values, and what drew them."""
        pixels = describe(folder, cls.classes, pixels_of)["sha256"]
        drawn_by = f"Pillow {Image.__version__}, FreeType {features.version('freetype2')}"
        return {"version": VERSION, "pixels": pixels, "drawn_by": drawn_by}

    @classmethod
    def complaint(cls, manifest: dict[str, Any]) -> str:
        if manifest.get("version") != VERSION:
            return f"its pictures are of version {manifest.get('version')}, and this is version {VERSION}"
        if manifest.get("pixels") != cls.pixels:
            print(
                f"note: {cls.__name__}: drawn by {manifest.get('drawn_by')}, with other grey values than the project's"
                " numbers were measured on: accuracies may differ a little from those"
            )
        return ""

    def derive(self, rng: random.Random) -> Splits:
        splits = Splits([], [], [])
        for label, name in enumerate(self.classes):
            items = [Item(f"{name}/{file}", label, name) for file in class_files(os.path.join(self.image_dir, name))]
            train, val = self.counts[0], self.counts[0] + self.counts[1]
            for part, chosen in zip(splits, (items[:train], items[train:val], items[val:]), strict=True):
                part.extend(chosen)
        return splits


class DrawnVariant(DrawnLoader):
    """The classes of another drawn data set in another domain, for testing only: shots and base/new do not apply."""

    counts = (0, 0, 50)
    has_halves = False

    def read(self) -> Splits:
        return test_only(self.check(self.derive(random.Random()), self.image_dir).test)

    def check(self, splits: Splits, source: str) -> Splits:
        """Check the test list alone, as `SplitLoader.check` does for all three."""
        return super().check(test_only(splits.test), source)


def seed_of(*words: object) -> int:
    """Return a seed for one picture, of the version and these words."""
    return int.from_bytes(hashlib.sha256(repr((VERSION, *words)).encode()).digest()[:4], "little")


def pixels_of(path: Path) -> bytes:
    """Return the grey values of a picture, whatever the PNG file's compression."""
    with Image.open(path) as picture:
        return picture.tobytes()


def chars_of(fonts: tuple[str, ...], chars: str) -> tuple[Char, ...]:
    """Pair every character with every font."""
    return tuple((font, char) for font in fonts for char in chars)
