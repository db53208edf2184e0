"""Oxford Flowers 102 (Nilsback and Zisserman, 2008), split by CoOp instead of the official ``setid.mat``."""

from __future__ import annotations

import random

import numpy as np

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import SplitLoader
from .shared.files import Item, Splits, label_from, look_up, read_json_object, read_mat
from .shared.splits import group_by_label, split_classes


@DATASET_REGISTRY.register()
class OxfordFlowers(SplitLoader):
    """102 flowers; classes come in the order in which they first appear among the images."""

    folder = "oxford_flowers"
    images = "jpg"
    annotations = ("imagelabels.mat", "cat_to_name.json")

    def derive(self, rng: random.Random) -> Splits:
        labels_file, names_file = map(self.annotation, self.annotations)
        names = read_json_object(names_file)
        items = []
        for image, number in enumerate(np.atleast_1d(read_mat(labels_file, "labels")), start=1):
            label = label_from(str(number), f"{labels_file}, entry {image}")
            items.append(Item(f"image_{image:05d}.jpg", label, look_up(names, str(number), names_file)))
        return split_classes(group_by_label(items), rng)
