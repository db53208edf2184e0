"""Describable Textures (Cimpoi et al., 2014), split by CoOp."""

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import FolderLoader


@DATASET_REGISTRY.register()
class DescribableTextures(FolderLoader):
    """47 classes of textures."""

    folder = "dtd"
    images = "images"
