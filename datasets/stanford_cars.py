"""Stanford Cars (Krause et al., 2013)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import SplitLoader
from .shared.files import Item, Splits, read_mat
from .shared.splits import split_trainval


@DATASET_REGISTRY.register()
class StanfordCars(SplitLoader):
    """196 models of cars, named with the year in front."""

    folder = "stanford_cars"
    contents = "its folders cars_train and cars_test"
    annotations = ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat", "devkit/cars_meta.mat")

    def derive(self, rng: random.Random) -> Splits:
        train_name, test_name, meta_name = self.annotations
        # The published file with test labels is a separate download: people keep it here or with the others.
        test_file = self.annotation(test_name, f"devkit/{test_name}")
        train_file, meta_file = self.annotation(train_name), self.annotation(meta_name)
        names = [year_first(name) for name in np.atleast_1d(read_mat(meta_file, "class_names"))]
        train = self._items(train_file, "cars_train", names)
        return split_trainval(train, self._items(test_file, "cars_test", names), rng)

    def _items(self, path: str, folder: str, names: list[str]) -> Iterator[Item]:
        entries = np.atleast_1d(read_mat(path, "annotations"))
        if not {"fname", "class"} <= set(entries.dtype.names or ()):
            raise ValueError(f"{path}: 'annotations' has no fields 'fname' and 'class': fetch the file with labels")
        for file, number in zip(entries["fname"], entries["class"], strict=True):
            label = int(number) - 1
            if not 0 <= label < len(names):
                raise ValueError(f"{path}: image {file} has class {number}, but there are {len(names)} classes")
            yield Item(f"{folder}/{os.path.basename(str(file))}", label, names[label])


def year_first(name: str) -> str:
    """Move the year to the front: ``Audi TTS Coupe 2012`` -> ``2012 Audi TTS Coupe``."""
    model, _, year = str(name).strip().rpartition(" ")
    return f"{year} {model}"
