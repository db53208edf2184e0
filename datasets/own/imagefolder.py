"""ImageFolder: a user's own images, one folder per class.

Either class folders directly in ``DATASET.FOLDER``, or folders train, val and test (or what else they are called, see
`folders.PARTS`) with class folders in each. A folder counts as one of those if it holds folders, so a class may be
called train. Where a folder holds nothing but another, that one is meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from unicodedata import normalize

from dassl.data.datasets import DATASET_REGISTRY

from ..shared import fewshot
from ..shared.files import Item, Splits, class_files
from ..shared.folders import is_system_name, part_of
from ..shared.image_files import is_image_file
from .base import OwnLoader, no_image
from .class_names import number_classes

LEVELS = 5
"""How many folders that hold nothing but another are followed."""


@DATASET_REGISTRY.register()
class ImageFolder(OwnLoader):
    """Classes are the sorted folders of the training images, or as ``classnames.txt`` orders and names them."""

    def prepare(self) -> None:
        super().prepare()
        for _ in range(LEVELS):
            inner = self.only_folder("")
            if not inner or part_of(inner):
                break
            self.dataset_dir = self.image_dir = self.follow(self.dataset_dir, inner)

    def read(self) -> Splits:
        folders, _ = self.look_into("")
        parts = self.parts(folders)
        classes = {part: self.look_into(place)[0] for part, place in parts.items()}
        for part, names in classes.items():
            if not names:
                raise FileNotFoundError(
                    f"{self.name}: {self.at(parts[part])} holds no class folders: sort your images into one folder"
                    " per class"
                )
        self.check_parts(parts)
        main = "train" if "train" in parts else "test"
        by_key = number_classes(classes[main], self.class_names(), self.dataset_dir)
        self.tell_apart((name, key, self.at(parts[main], key)) for key, (_, name) in by_key.items())
        numbers = {normalize("NFC", key): number for key, number in by_key.items()}
        for part, names in classes.items():
            unknown = [name for name in names if normalize("NFC", name) not in numbers]
            if unknown:
                raise ValueError(f"{self.name}: class folder {unknown[0]!r} is in {parts[part]} but not in train")
        return self.complete({part: self.list_images(parts[part], classes[part], numbers) for part in parts})

    def parts(self, folders: Iterable[str]) -> dict[str, str]:
        """Return part -> its folder in the dataset's; class folders directly in it are one part without a folder.

        Raises:
            ValueError: two folders for one part.
        """
        found: dict[str, str] = {}
        others = []
        for folder in folders:
            part = part_of(folder)
            if part is None or not self.look_into(folder)[0]:
                others.append(folder)
            elif part in found:
                raise ValueError(
                    f"{self.name}: {self.dataset_dir} has both {found[part]} and {folder}: keep one of them"
                )
            else:
                found[part] = folder
        if found and others:
            print(
                f"{self.name}: beside {', '.join(sorted(found.values()))}, these folders are not read: {listed(others)}"
            )
        for part, folder in found.items():
            inner = self.only_folder(folder)
            if inner and (part_of(inner) == part or len(self.look_into(f"{folder}/{inner}")[0]) > 1):
                self.follow(self.at(folder), inner)
                found[part] = f"{folder}/{inner}"
        return found or {"train": ""}

    def only_folder(self, place: str) -> str:
        """Return the one folder of folders that a folder holds if it holds no images or other folders, else ``""``."""
        folders, files = self.look_into(place)
        if len(folders) != 1 or self.images_of(place, files):
            return ""
        inside = os.path.join(place, folders[0])
        inner, files = self.look_into(inside)
        return folders[0] if inner and not self.images_of(inside, files) else ""

    def follow(self, folder: str, inner: str) -> str:
        """Return the path of a folder in one that holds nothing else, and say that it is read."""
        print(f"{self.name}: {folder} holds no other folder than {inner}: that is read")
        return os.path.join(folder, inner)

    def at(self, *places: str) -> str:
        """Return the path of a place in the dataset's folder."""
        return os.path.normpath(os.path.join(self.dataset_dir, *places))

    def look_into(self, place: str) -> tuple[list[str], list[str]]:
        """Return sorted names of a folder's folders and files, without hidden ones, the system's and our own."""
        with os.scandir(os.path.join(self.dataset_dir, place)) as found:
            entries = sorted((e.name, e.is_dir()) for e in found if not is_system_name(e.name))
        folders = [name for name, is_folder in entries if is_folder and (place or name != fewshot.FOLDER)]
        return folders, [name for name, is_folder in entries if not is_folder]

    def images_of(self, place: str, files: Iterable[str]) -> list[str]:
        """Return those of the files in a folder that are images."""
        folder = os.path.join(self.dataset_dir, place, "")
        return [file for file in files if is_image_file(folder + file)]

    def list_images(self, place: str, classes: list[str], numbers: dict[str, tuple[int, str]]) -> list[Item]:
        """List all images of a folder's class folders in the order of labels; ``numbers`` by the keys' NFC form.

        Raises:
            FileNotFoundError: an empty folder.
            ValueError: something in a class folder that is no image; loose images beside the folders are only told.
        """
        self.tell_loose_images(place)
        items, deeper = [], []
        for (label, name), key in sorted((numbers[normalize("NFC", key)], key) for key in classes):
            folder = f"{place}/{key}" if place else key
            holder = self.holder(folder)
            if holder != folder:
                deeper.append(self.at(holder))
            files = sorted(class_files(self.at(holder)), key=lambda file: (normalize("NFC", file), file))
            images = self.images_of(holder, files)
            if len(images) < len(files):
                other = next(file for file in files if file not in images)
                raise ValueError(f"{self.name}: {self.at(holder, other)} is {no_image(other)}: convert or remove it")
            items += [Item(f"{holder}/{file}", label, name) for file in files]
        if deeper:
            counts = f"{len(deeper)} of {len(classes)} class folders"
            print(f"{self.name}: in {counts} the images are one folder further down, such as {deeper[0]}")
        return items

    def holder(self, folder: str) -> str:
        """Return where the images of a class folder are: in it, or in the one folder that is all it holds.

        Raises:
            ValueError: both, or other folders; the message says what to do about them.
        """
        folders, files = self.look_into(folder)
        if not folders:
            return folder
        inner = f"{folder}/{folders[0]}"
        inner_folders, inner_files = self.look_into(inner)
        images = self.images_of(inner, inner_files)
        if images and not inner_folders and len(folders) == 1 and not files:
            return inner
        if self.images_of(folder, files):
            what = "put its images one level up" if images else "it holds no images, so remove it"
            raise ValueError(f"{self.name}: {self.at(inner)} is a folder in a class folder: {what}")
        raise ValueError(
            f"{self.name}: class folder {self.at(folder)} holds folders ({listed(folders)}) instead of images: if those"
            " are the classes, put them one level up, else their images"
        )

    def tell_loose_images(self, place: str) -> None:
        """Say so if images lie beside the class folders, where they belong to no class."""
        loose = self.images_of(place, self.look_into(place)[1])
        if loose:
            print(f"{self.name}: images in {self.at(place)} beside its class folders are not read: {listed(loose)}")


def listed(names: list[str]) -> str:
    """List the first names, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
