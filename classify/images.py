"""Which image files the arguments of a command mean. Nothing here needs torch."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find(arguments: Iterable[str]) -> list[str]:
    """Image files in the order of ``arguments``, each once.

    A file counts whatever its suffix; a folder stands for the images in it and below (by suffix, sorted, hidden ones
    left out); anything else is a glob pattern, ``**`` included. Raises FileNotFoundError naming an argument that
    matches nothing, and ValueError for a folder without images.
    """
    found = [path for argument in arguments for path in _expand(argument)]
    return list(dict.fromkeys(found))


def _expand(argument: str) -> list[str]:
    if os.path.isfile(argument):
        return [argument]
    if os.path.isdir(argument):
        return _below(argument)
    if not glob.has_magic(argument):
        raise FileNotFoundError(f"there is no image or folder {argument}")
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise FileNotFoundError(f"nothing matches {argument}")
    # A pattern that names whole folders means their images; one that ends in ** lists files and folders alike.
    files = [match for match in matches if os.path.isfile(match)]
    return files or [path for match in matches for path in _below(match)]


def _below(folder: str) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES)
        found += [os.path.join(place, name) for name in names]
    if not found:
        raise ValueError(f"there are no images in {folder}: files are known by {', '.join(SUFFIXES)}")
    return found
