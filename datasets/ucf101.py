"""UCF101 (Soomro et al., 2012): middle frames of the videos, first of the official splits."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import SplitLoader
from .shared.files import Item, Splits, label_from, look_up, read_rows
from .shared.splits import split_trainval


@DATASET_REGISTRY.register()
class UCF101(SplitLoader):
    """101 actions, one image per video."""

    folder = "ucf101"
    images = "UCF-101-midframes"
    contents = "the middle frames (CoOp's UCF-101-midframes.zip)"
    annotations = (
        "ucfTrainTestlist/classInd.txt",
        "ucfTrainTestlist/trainlist01.txt",
        "ucfTrainTestlist/testlist01.txt",
    )

    def derive(self, rng: random.Random) -> Splits:
        classes_file, train_file, test_file = map(self.annotation, self.annotations)
        rows = read_rows(classes_file, "number action")
        labels = {action: label_from(number, place) for place, (number, action) in rows}
        train = self._items(train_file, "video number", labels)
        return split_trainval(train, self._items(test_file, "video", labels), rng)

    def _items(self, path: str, form: str, labels: dict[str, int]) -> Iterator[Item]:
        for place, (video, *_) in read_rows(path, form):
            action, file = os.path.split(video)
            name, label = spaced(action), look_up(labels, action, place)
            yield Item(f"{name}/{os.path.splitext(file)[0]}.jpg", label, name)


def spaced(action: str) -> str:
    """Return the folder and class name of an action: ``ApplyEyeMakeup`` -> ``Apply_Eye_Makeup``."""
    return "_".join(re.findall("[A-Z][^A-Z]*", action))
