"""Images whose classes are known, to measure a classifier on. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.own.class_names import name_key
from datasets.shared.folders import is_system_name

from . import images


class Labelled(NamedTuple):
    """Image files `[N]` and their labels `[N]`, places in a list of classes."""

    paths: list[str]
    labels: list[int]


def class_folders(folder: str, classes: Sequence[str]) -> Labelled:
    """Find the images in a folder that has one folder per class, named as the class; classes may be missing.

    Raises FileNotFoundError where there is no such folder or no folder in it, and ValueError for a folder that is none
    of the classes or has no images.
    """
    label = {name_key(name): number for number, name in enumerate(classes)}
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found = Labelled([], [])
    for place in sorted(Path(folder).iterdir()):
        if place.is_dir() and not is_system_name(place.name):
            if name_key(place.name) not in label:
                raise ValueError(f"{place} is none of the classes, which are {', '.join(classes)}: rename or move it")
            paths = images.find([str(place)]).paths
            found.paths.extend(paths)
            found.labels.extend([label[name_key(place.name)]] * len(paths))
    if not found.paths:
        raise FileNotFoundError(f"there are no folders of classes in {folder}")
    return found
