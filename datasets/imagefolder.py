"""ImageFolder: a user's own images, one folder per class.

Either class folders directly in ``DATASET.FOLDER``, or folders train, val (valid, validation) and test with class
folders in each. A folder counts as one of those if it holds folders, so a class may be called train.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from dassl.data.datasets import DATASET_REGISTRY

from . import fewshot
from .files import Item, Splits, class_files
from .own import PARTS, SUFFIXES, OwnLoader, is_image, number_classes


@DATASET_REGISTRY.register()
class ImageFolder(OwnLoader):
    """Classes are the sorted folders of the training images, or as ``classnames.txt`` orders and names them."""

    def read(self) -> Splits:
        folders, _ = self.look_into("")
        parts = self.parts(folders)
        classes = {part: self.look_into(place)[0] for part, place in parts.items()}
        for part, names in classes.items():
            if not names:
                raise FileNotFoundError(
                    f"{self.name}: {self.inside(parts[part])} holds no class folders: sort your images into one folder"
                    " per class"
                )
        self.check_parts(parts)
        first = classes["train" if "train" in parts else "test"]
        for part, names in classes.items():
            unknown = sorted(set(names) - set(first))
            if unknown:
                raise ValueError(f"{self.name}: class folder {unknown[0]!r} is in {parts[part]} but not in train")
        numbers = number_classes(first, self.class_names(), self.dataset_dir)
        return self.complete({part: self.list_images(parts[part], classes[part], numbers) for part in parts})

    def parts(self, folders: Iterable[str]) -> dict[str, str]:
        """Part -> its folder in the dataset's; class folders directly in it are one part without a folder.

        Raises:
            ValueError: two folders for one part.
        """
        found: dict[str, str] = {}
        others = []
        for folder in folders:
            part = PARTS.get(folder.lower())
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
        return found or {"train": ""}

    def look_into(self, place: str) -> tuple[list[str], list[str]]:
        """Sorted names of the folders and of the files in a folder; hidden ones and our own are left out."""
        with os.scandir(os.path.join(self.dataset_dir, place)) as found:
            entries = sorted((e.name, e.is_dir()) for e in found if not e.name.startswith("."))
        folders = [name for name, is_folder in entries if is_folder and (place or name != fewshot.FOLDER)]
        return folders, [name for name, is_folder in entries if not is_folder]

    def list_images(self, place: str, classes: list[str], numbers: dict[str, tuple[int, str]]) -> list[Item]:
        """All images of the class folders in a folder, in the order of labels.

        Raises:
            FileNotFoundError: an empty folder.
            ValueError: something in a class folder that is no image; loose images beside the folders are only told.
        """
        self.tell_loose_images(place)
        items = []
        for key in sorted(classes, key=lambda key: numbers[key][0]):
            label, name = numbers[key]
            folder = f"{place}/{key}" if place else key
            folders_in_it, files = self.look_into(folder)
            if folders_in_it:
                inner = os.path.join(self.dataset_dir, folder, folders_in_it[0])
                raise ValueError(f"{self.name}: {inner} is a folder in a class folder: put its images one level up")
            files = class_files(os.path.join(self.dataset_dir, folder))
            others = [file for file in files if not is_image(file)]
            if others:
                raise ValueError(
                    f"{self.name}: {os.path.join(self.dataset_dir, folder, others[0])} is not an image that can be"
                    f" read ({', '.join(SUFFIXES)}): convert or remove it"
                )
            items += [Item(f"{folder}/{file}", label, name) for file in files]
        return items

    def tell_loose_images(self, place: str) -> None:
        """Say so if images lie beside the class folders, where they belong to no class."""
        loose = [file for file in self.look_into(place)[1] if is_image(file)]
        if loose:
            print(f"{self.name}: images in {self.inside(place)} beside its class folders are not read: {listed(loose)}")


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
