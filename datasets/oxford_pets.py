"""Oxford-IIIT Pets (Parkhi et al., 2012)."""

from __future__ import annotations

import random

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import SplitLoader
from .shared.files import Item, Splits, label_from, read_rows
from .shared.splits import split_trainval


@DATASET_REGISTRY.register()
class OxfordPets(SplitLoader):
    """37 breeds of cats and dogs."""

    folder = "oxford_pets"
    images = "images"
    annotations = ("annotations/trainval.txt", "annotations/test.txt")

    def derive(self, rng: random.Random) -> Splits:
        trainval, test = (self._items(name) for name in self.annotations)
        train, val = split_trainval(trainval, rng)
        return Splits(train, val, test)

    def _items(self, name: str) -> list[Item]:
        items = []
        for place, (image, number, _, _) in read_rows(self.annotation(name), "image class species breed"):
            breed = image.rpartition("_")[0].lower()
            items.append(Item(f"{image}.jpg", label_from(number, place), breed))
        return items
