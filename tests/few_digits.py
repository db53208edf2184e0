"""Digits with few images, where it is enough that there are several of each class to train, select and test on."""

from __future__ import annotations

from pathlib import Path

from datasets.digits import CLASSES, Digits

BASE, NEW = 24, 20  # images of each class: 12, 5 and 7 to train, select and test on; 10, 4 and 6
SELECTED, TESTED = 5 * 5, {"base": 5 * 7, "new": 5 * 6}  # images of the base classes; by classes


class FewDigits(Digits):
    """The first images of each class."""

    @classmethod
    def write_images(cls, folder: str) -> None:
        """Write the images into class folders in ``folder``."""
        super().write_images(folder)
        for label, name in enumerate(CLASSES):
            for path in sorted(Path(folder, name).iterdir())[BASE if label < 5 else NEW :]:
                path.unlink()
