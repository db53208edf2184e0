"""Food101 (Bossard et al., 2014), split by CoOp instead of the official 750/250 per class."""

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import FolderLoader


@DATASET_REGISTRY.register()
class Food101(FolderLoader):
    """101 classes of dishes."""

    folder = "food-101"
    images = "images"
