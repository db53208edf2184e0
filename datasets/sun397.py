"""SUN397 (Xiao et al., 2010), first of the official partitions."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import SplitLoader
from .shared.files import Item, Splits, look_up, read_rows
from .shared.splits import split_trainval


@DATASET_REGISTRY.register()
class SUN397(SplitLoader):
    """397 scenes, keyed by folder (``a/apse/indoor``) and named from it (``indoor apse``)."""

    folder = "sun397"
    images = "SUN397"
    annotations = ("ClassName.txt", "Training_01.txt", "Testing_01.txt")

    def derive(self, rng: random.Random) -> Splits:
        names_file, train_file, test_file = map(self.annotation, self.annotations)
        scenes = (line.lstrip("/") for _, (line,) in read_rows(names_file, "class"))
        labels = {scene: label for label, scene in enumerate(scenes)}
        return split_trainval(self._items(train_file, labels), self._items(test_file, labels), rng)

    def _items(self, path: str, labels: dict[str, int]) -> Iterator[Item]:
        for place, (line,) in read_rows(path, "image"):
            image = line.lstrip("/")
            scene = os.path.dirname(image)
            yield Item(image, look_up(labels, scene, place), scene_name(scene))


def scene_name(folder: str) -> str:
    """Name a scene by its folder: ``a/apse/indoor`` -> ``indoor apse``, without the initial, in reverse."""
    return " ".join(reversed(folder.split("/")[1:]))
