"""ImageNet-Sketch (Wang et al., 2019)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    """Sketches of all classes of ImageNet."""

    folder = "imagenet-sketch"
    images = "images"
    contents = "its folders, one per WordNet id (the archive's sketch folder, renamed),"
