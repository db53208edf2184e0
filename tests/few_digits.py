"""Digits with few images, where it is enough that there are several of each class to train, select and test on."""

from __future__ import annotations

from pathlib import Path

from datasets.digits import CLASSES, Digits

BASE, NEW = 40, 36  # images of each class: 20, 8 and 12 to train, select and test on; 18, 7 and 11
SELECTED, TESTED = 5 * 8, {"base": 5 * 12, "new": 5 * 11}  # images of the base classes; by classes


class FewDigits(Digits):
    """The first images of each class."""

    @classmethod
    def write_images(cls, folder: str) -> None:
        """Write the images into class folders in ``folder``."""
        super().write_images(folder)
        for label, name in enumerate(CLASSES):
            for path in sorted(Path(folder, name).iterdir())[BASE if label < 5 else NEW :]:
                path.unlink()
