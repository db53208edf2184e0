"""ImageNet (Deng et al., 2009), and what its test-only variants share.

Class names are those of CLIP's authors, from ``classnames.txt`` (a WordNet id and a name per line). Two
pairs of classes have the same name, so nothing is keyed by name. Folders and files are taken in sorted order;
CoOp takes files in the file system's, so no official few-shot selection exists.
"""

from __future__ import annotations

import os

from dassl.data.datasets import DATASET_REGISTRY

from .shared.base import Loader
from .shared.files import Item, Splits, class_files, class_folders, read_rows, write_atomically

NAMES_FILE = "classnames.txt"


@DATASET_REGISTRY.register()
class ImageNet(Loader):
    """1000 classes. The official validation images are both val and test."""

    folder = "imagenet"
    images = "images"
    contents = "folders train and val, each with one folder of images per WordNet id,"

    def read(self) -> Splits:
        train, val = (os.path.join(self.image_dir, part) for part in ("train", "val"))
        wnids = class_folders(train)
        names = self.names(wnids)
        differing = sorted(set(wnids) ^ set(class_folders(val)))
        if differing:
            raise ValueError(f"{self.name}: class folder {differing[0]} is in one of {train} and {val} only")
        note_count(self.name, len(wnids), len(names))
        test = list_images(self.image_dir, names, [f"val/{wnid}" for wnid in wnids])
        return Splits(list_images(self.image_dir, names, [f"train/{wnid}" for wnid in wnids]), test, test)

    def names(self, wnids: list[str]) -> dict[str, str]:
        """Return WordNet id -> class name; the file is written first if it is missing."""
        path = os.path.join(self.dataset_dir, NAMES_FILE)
        if not os.path.isfile(path):
            write_classnames(path, wnids)
            print(f"{self.name}: wrote {path}")
        return read_classnames(path)


class ImageNetVariant(Loader):
    """Images for testing only: the training list is the test list, shots and base/new do not apply."""

    class_count = 1000
    has_halves = False

    def read(self) -> Splits:
        names = self.names()
        wnids = class_folders(self.image_dir)
        note_count(self.name, len(wnids), self.class_count)
        return test_only(list_images(self.image_dir, names, wnids))

    def names(self) -> dict[str, str]:
        """Return WordNet id -> class name for all of ImageNet; FileNotFoundError if no folder has the file."""
        root = os.path.dirname(self.dataset_dir)
        for folder in (self.dataset_dir, os.path.join(root, ImageNet.folder)):
            path = os.path.join(folder, NAMES_FILE)
            if os.path.isfile(path):
                return read_classnames(path)
        raise FileNotFoundError(
            f"{self.name}: {NAMES_FILE} not found: run {self.command}, or put ImageNet's into {self.dataset_dir}"
            f" or {os.path.join(root, ImageNet.folder)}"
        )


def test_only(items: list[Item]) -> Splits:
    """Return the splits of a dataset that has a test list only."""
    return Splits(items, [], items)


def list_images(image_dir: str, names: dict[str, str], folders: list[str]) -> list[Item]:
    """List all images of folders (paths in ``image_dir`` that end in a WordNet id); the position is the label.

    Raises:
        ValueError: a folder that is no WordNet id of ``names``.
        FileNotFoundError: an empty folder.
    """
    items = []
    for label, folder in enumerate(folders):
        path, wnid = os.path.join(image_dir, folder), os.path.basename(folder)
        if wnid not in names:
            raise ValueError(f"class folder {path} is not in {NAMES_FILE}: remove or rename it")
        files = class_files(path)
        items += [Item(f"{folder}/{file}", label, names[wnid]) for file in files]
    return items


def note_count(name: str, found: int, expected: int) -> None:
    """Say so if class folders are missing or too many: allowed, but not comparable."""
    if found != expected:
        print(f"{name}: {found} class folders instead of {expected}: not comparable with published numbers")


def read_classnames(path: str) -> dict[str, str]:
    """Read WordNet id -> class name, in the file's order; ValueError for an id that comes twice."""
    names: dict[str, str] = {}
    for place, (wnid, name) in read_rows(path, "wnid name"):
        if wnid in names:
            raise ValueError(f"{place}: {wnid} comes twice")
        names[wnid] = name
    return names


def write_classnames(path: str, wnids: list[str]) -> None:
    """Write the published file: sorted WordNet ids beside open_clip's list of the same 1000 names.

    Raises FileNotFoundError: ``wnids`` are not all of ImageNet's, so that names cannot be told.
    """
    from open_clip import IMAGENET_CLASSNAMES

    if len(wnids) != len(IMAGENET_CLASSNAMES):
        raise FileNotFoundError(
            f"{path} not found: put CoOp's there; it can be written for all {len(IMAGENET_CLASSNAMES)} class"
            f" folders only, here are {len(wnids)}"
        )
    pairs = zip(sorted(wnids), IMAGENET_CLASSNAMES, strict=True)
    write_atomically(path, "".join(f"{wnid} {name}\n" for wnid, name in pairs))
