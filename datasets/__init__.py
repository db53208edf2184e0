"""Dataset loaders, one module per dataset.

Importing the package is light (no torch). A loader joins Dassl's ``DATASET_REGISTRY`` when its module is
imported: ``import datasets.oxford_pets`` for one, ``datasets.load_all()`` for all.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "ImageNet": "imagenet",
    "Caltech101": "caltech101",
    "OxfordPets": "oxford_pets",
    "StanfordCars": "stanford_cars",
    "OxfordFlowers": "oxford_flowers",
    "Food101": "food101",
    "FGVCAircraft": "fgvc_aircraft",
    "SUN397": "sun397",
    "DescribableTextures": "dtd",
    "EuroSAT": "eurosat",
    "UCF101": "ucf101",
    "ImageNetV2": "imagenetv2",
    "ImageNetSketch": "imagenet_sketch",
    "ImageNetA": "imagenet_a",
    "ImageNetR": "imagenet_r",
    "Digits": "digits",
}

NAMES: tuple[str, ...] = tuple(_MODULES)
"""Registry names of all loaders."""


def load_all() -> None:
    """Register every loader; calling it again changes nothing."""
    for module in _MODULES.values():
        import_module(f"{__name__}.{module}")
