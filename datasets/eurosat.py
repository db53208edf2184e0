"""EuroSAT (Helber et al., 2019): land use in Sentinel-2 images (RGB)."""

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import FolderLoader


@DATASET_REGISTRY.register()
class EuroSAT(FolderLoader):
    """10 classes of land use."""

    folder = "eurosat"
    images = "2750"
    renamed = {
        "AnnualCrop": "Annual Crop Land",
        "HerbaceousVegetation": "Herbaceous Vegetation Land",
        "Highway": "Highway or Road",
        "Industrial": "Industrial Buildings",
        "Pasture": "Pasture Land",
        "PermanentCrop": "Permanent Crop Land",
        "Residential": "Residential Buildings",
        "SeaLake": "Sea or Lake",
    }
