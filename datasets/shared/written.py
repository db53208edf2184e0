"""Data sets that write themselves on first use, from what is installed: nothing is fetched.

Beside the images stands ``manifest.json``: how many there are, one SHA-256 over all, and what the data set adds to tell
how they were made. Every run compares it with what is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from .base import FolderLoader
from .files import folder_names, read_json_object, write_atomically

MANIFEST = "manifest.json"


class WrittenLoader(FolderLoader):
    """A split data set that writes its images; a subclass says its ``classes`` and how."""

    images = "images"
    published = False
    classes: Sequence[str] = ()
    """Class folders, which are the class names too; the position is the label."""

    @classmethod
    def write_images(cls, folder: str) -> None:
        """Write all images into class folders in ``folder``."""
        raise NotImplementedError

    @classmethod
    def made(cls, folder: str) -> dict[str, Any]:
        """Return what the manifest says of how the images in ``folder`` were made."""
        return {}

    @classmethod
    def complaint(cls, manifest: dict[str, Any]) -> str:
        """Say what is wrong with how the images were made, by their manifest; ``""``: nothing."""
        return ""

    def class_folders(self) -> Sequence[str]:
        return self.classes

    def prepare(self) -> None:
        """Write the images if the folder is missing, and see that they are unchanged.

        Raises ValueError: images and manifest do not agree, or they are of another version.
        """
        if not folder_names(self.dataset_dir):
            self.write_once(self.dataset_dir)
        problem = self.problem(self.dataset_dir)
        if problem:
            raise ValueError(f"{self.name}: {problem}: delete {self.dataset_dir}, it will be written again")

    @classmethod
    def write_once(cls, folder: str) -> None:
        """Write images and manifest under a temporary name, then rename: the fastest process wins."""
        partial = f"{folder}.{uuid4().hex}.incomplete"
        images = os.path.join(partial, cls.images)
        try:
            cls.write_images(images)
            manifest = describe(images, cls.classes) | cls.made(images)
            write_atomically(os.path.join(partial, MANIFEST), json.dumps(manifest, indent=4, allow_nan=False))
            os.rename(partial, folder)
            print(f"{cls.__name__}: wrote {manifest['images']} images to {folder}")
        except OSError:
            if not os.path.isdir(folder):
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def problem(cls, folder: str) -> str:
        """Say why the images in the data set's ``folder`` cannot be used; ``""``: they can."""
        path, images = os.path.join(folder, MANIFEST), os.path.join(folder, cls.images)
        found = read_json_object(path) if os.path.isfile(path) else {}
        # Another version first: its files differ too, and that is the reason.
        complaint = cls.complaint(found) if found else ""
        here = describe(images, cls.classes)
        if complaint or all(found.get(key) == value for key, value in here.items()):
            return complaint
        return f"{images} does not agree with {MANIFEST}"


def describe(folder: str, classes: Iterable[str], content: Callable[[Path], bytes] = Path.read_bytes) -> dict[str, Any]:
    """Return the number of images under the class folders, and one SHA-256 over their names and contents."""
    digest = hashlib.sha256()
    count = 0
    for name in classes:
        for file in sorted(folder_names(os.path.join(folder, name))):
            if file.startswith("."):
                continue
            digest.update(f"{name}/{file}\0".encode() + content(Path(folder, name, file)))
            count += 1
    return {"images": count, "sha256": digest.hexdigest()}
