"""ImageNet-R (Hendrycks et al., 2021): renditions, such as art, toys and sculptures."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    """200 classes of ImageNet, labelled by their position among the archive's sorted folders."""

    folder = "imagenet-rendition"
    images = "imagenet-r"
    contents = "its folders, one per WordNet id,"
    class_count = 200
