"""Dataset loaders, one module per dataset.

Importing the package is light (no torch). A loader joins Dassl's ``DATASET_REGISTRY`` when its module is
imported: ``import datasets.oxford_pets`` for one, ``datasets.load_all()`` for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from common.names import closest

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
    "DrawnLetters": "drawn_letters",
    "DrawnGreek": "drawn_greek",
    "DrawnSymbols": "drawn_symbols",
    "DrawnLettersV2": "drawn_letters_v2",
    "DrawnLettersSketch": "drawn_letters_sketch",
    "DrawnLettersA": "drawn_letters_a",
    "DrawnLettersR": "drawn_letters_r",
    "ImageFolder": "imagefolder",
    "Table": "table",
}

NAMES: tuple[str, ...] = tuple(_MODULES)
"""Registry names of all loaders."""

OWN: tuple[str, ...] = ("ImageFolder", "Table")
"""Those of them that read the user's own data, wherever the configuration says it is."""

WRITTEN: tuple[str, ...] = tuple(name for name in NAMES if name.startswith(("Digits", "Drawn")))
"""Those that write themselves from what is installed; nothing is fetched."""


def load(name: str) -> Any:
    """Return a loader's class, by its registry name."""
    return getattr(import_module(_module(name)), name)


def load_all() -> None:
    """Register every loader; calling it again changes nothing."""
    for name in _MODULES:
        import_module(_module(name))


def _module(name: str) -> str:
    """Where a loader lives: the real data sets beside this file, the others in a package of their kind."""
    stem = _MODULES[name]
    kind, *rest = stem.split("_")  # the variants of drawn_letters are in its file
    place = f"drawn.{rest[0]}" if kind == "drawn" else f"own.{stem}" if name in OWN else stem
    return f"{__name__}.{place}"


def config_name(name: str) -> str:
    """Return the name of the configuration file that comes with a loader, by its registry name; "" for other names."""
    return _MODULES.get(name, "")


def known_names() -> dict[str, str]:
    """Return the registry name of every dataset by that and by its configuration's name, in lower case."""
    return {call.lower(): registry for registry, module in _MODULES.items() for call in (registry, module)}


def find_name(name: str) -> str:
    """Return the registry name of a dataset called by that or by its configuration's name, in any case.

    Raises ValueError: there is none; the nearest is named.
    """
    known = known_names()
    if name.lower() in known:
        return known[name.lower()]
    nearest = closest(name, known)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(NAMES)}"
    raise ValueError(f"there is no dataset {name!r}: {hint}")
