"""Oxford-IIIT Pets (Parkhi et al., 2012)."""

from __future__ import annotations

import random
from collections.abc import Iterator

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
        trainval, test = map(self._items, self.annotations)
        return split_trainval(trainval, test, rng)

    def _items(self, name: str) -> Iterator[Item]:
        for place, (image, number, _, _) in read_rows(self.annotation(name), "image class species breed"):
            breed = image.rpartition("_")[0].lower()
            yield Item(f"{image}.jpg", label_from(number, place), breed)
