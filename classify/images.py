"""Image files that the arguments of a command mean, what was left out, and images of known classes. No torch here."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.own.class_names import name_key
from datasets.shared.folders import is_system_name
from datasets.shared.image_files import is_image_file

HIDDEN, BROKEN_LINK, SPECIAL = "hidden", "broken link", "special file"
CLOSED, SEEN, BESIDE = "folder that cannot be opened", "link to a folder seen before", "folder that a pattern matches"


class Found:
    """Image files in the order of the arguments, each once.

    Attributes:
        paths: of the images.
        left_out: path -> what it is, of the entries that are no images or cannot be reached.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.left_out: dict[str, str] = {}

    def summary(self, unreadable: int = 0) -> str:
        """Return how many entries were left out, by what they are, the most first; "" if none was."""
        kinds = Counter(self.left_out.values())
        kinds.update({"unreadable": unreadable} if unreadable else {})
        by_count = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
        return ", ".join(f"{count} {kind}" for kind, count in by_count)


def find(arguments: Iterable[str]) -> Found:
    """Find the image files that ``arguments`` mean.

    A file counts whatever its suffix. A folder stands for the images in it and below: those with the suffix of an image
    and those without a suffix that are one, sorted, links followed, hidden ones left out. Anything else is a glob
    pattern, ``**`` included. Raises FileNotFoundError naming an argument that matches nothing, and ValueError for a
    folder without images.
    """
    found = Found()
    paths = [path for argument in arguments for path in _expand(argument, found.left_out)]
    found.paths = list(dict.fromkeys(paths))
    return found


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
            paths = find([str(place)]).paths
            found.paths.extend(paths)
            found.labels.extend([label[name_key(place.name)]] * len(paths))
    if not found.paths:
        raise FileNotFoundError(f"there are no folders of classes in {folder}")
    return found


def _expand(argument: str, left_out: dict[str, str]) -> list[str]:
    if os.path.isfile(argument):
        return [argument]
    if os.path.isdir(argument):
        return _some_below(argument, left_out)
    if not glob.has_magic(argument):
        raise FileNotFoundError(f"there is no image or folder {argument}")
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise FileNotFoundError(f"nothing matches {argument}")
    # A pattern that names whole folders means their images; one that ends in ** lists files and folders alike.
    files = list(_files(matches, left_out, recursive="**" in argument))
    return files or [path for match in matches if os.path.isdir(match) for path in _some_below(match, left_out)]


def _files(matches: list[str], left_out: dict[str, str], recursive: bool) -> Iterator[str]:
    """Files among a pattern's matches; notes why others are left out, if there is a file."""
    others: dict[str, str] = {}
    files = []
    looping = {
        folder for folder in {os.path.dirname(match) for match in matches} if recursive and _in_loop(Path(folder))
    }
    for match in matches:
        if os.path.dirname(match) in looping:
            others[match] = SEEN
        elif os.path.isfile(match):
            files.append(match)
        elif not os.path.isdir(match):
            others[match] = _no_file(match)
        elif not recursive:
            others[match] = BESIDE
    if files:
        left_out.update(others)
    return iter(files)


def _in_loop(folder: Path) -> bool:
    """Whether a path goes through a link to a folder that it has come through."""
    links = (place for place in (folder, *folder.parents) if place.is_symlink())
    return any(os.path.realpath(link) in map(os.path.realpath, link.parents) for link in links)


def _some_below(folder: str, left_out: dict[str, str]) -> list[str]:
    here: dict[str, str] = {}
    found = _below(folder, here)
    left_out.update(here)
    if not found:
        inside = Found()
        inside.left_out = here
        raise ValueError(f"there are no images in {folder}: it has {inside.summary() or 'nothing in it'}")
    return found


def _below(folder: str, left_out: dict[str, str]) -> list[str]:
    found = []
    seen = {os.path.realpath(folder)}

    def enters(path: str) -> bool:
        real = os.path.realpath(path)
        if is_system_name(os.path.basename(path)):
            left_out[path] = HIDDEN
        elif real in seen:
            left_out[path] = SEEN
        else:
            seen.add(real)
            return True
        return False

    def cannot_open(error: OSError) -> None:
        left_out[error.filename] = CLOSED

    for place, folders, files in os.walk(folder, followlinks=True, onerror=cannot_open):
        folders[:] = [name for name in sorted(folders) if enters(os.path.join(place, name))]
        for path in (os.path.join(place, name) for name in sorted(files)):
            kind = _kind(path)
            if kind:
                left_out[path] = kind
            else:
                found.append(path)
    return found


def _kind(path: str) -> str:
    """What an entry of a folder is instead of an image, or ""."""
    name = os.path.basename(path)
    if is_system_name(name):
        return HIDDEN
    if not os.path.isfile(path):
        return _no_file(path)
    return "" if is_image_file(path) else os.path.splitext(name)[1].lower() or "without a suffix"


def _no_file(path: str) -> str:
    return BROKEN_LINK if os.path.islink(path) else SPECIAL
