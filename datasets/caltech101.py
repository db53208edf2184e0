"""Caltech101 (Fei-Fei et al., 2004): objects, without the background class and the easy faces."""

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import FolderLoader


@DATASET_REGISTRY.register()
class Caltech101(FolderLoader):
    """100 classes of objects."""

    folder = "caltech-101"
    images = "101_ObjectCategories"
    ignored = ("BACKGROUND_Google", "Faces_easy")
    renamed = {"Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike", "airplanes": "airplane"}
