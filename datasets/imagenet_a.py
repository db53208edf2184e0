"""ImageNet-A (Hendrycks et al., 2021): natural images that models of the time got wrong."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    """200 classes of ImageNet, labelled by their position among the archive's sorted folders."""

    folder = "imagenet-adversarial"
    images = "imagenet-a"
    contents = "its folders, one per WordNet id,"
    class_count = 200
