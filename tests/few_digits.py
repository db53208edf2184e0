"""Digits with few images, where it is enough that there are several of each class to train, select and test on."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np

from datasets.digits import Digits

BASE, NEW = 24, 20  # images of each class: 12, 5 and 7 to train, select and test on; 10, 4 and 6
SELECTED, TESTED = 5 * 5, {"base": 5 * 7, "new": 5 * 6}  # images of the base classes; by classes


class FewDigits(Digits):
    """The first images of each class."""

    @classmethod
    def write_images(cls, folder: str) -> None:
        """Write the images into class folders in ``folder``."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        of_class = (np.flatnonzero(digits.target == label) for label in range(10))
        few = np.concatenate([places[: BASE if label < 5 else NEW] for label, places in enumerate(of_class)])
        digits.images, digits.target = digits.images[few], digits.target[few]
        with patch("sklearn.datasets.load_digits", return_value=digits):
            super().write_images(folder)
