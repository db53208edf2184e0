"""From an unpacked archive, whatever folders it wraps around, to the layout that the loaders expect."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..shared.files import read_mat, read_rows, subfolders
from ..shared.folders import is_system_name


def find(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the shallowest file or folder of the first of these names that occurs; hidden folders are not searched.

    A folder that holds only a folder of its own name stands for that one.
    """
    for name in names:
        level = [folder]
        while level:
            found = next((path / name for path in level if name in os.listdir(path)), None)
            if found:
                return _innermost(found)
            level = [child for path in level for child in sorted(map(path.joinpath, subfolders(path)))]
    return None


def _innermost(path: Path) -> Path:
    while path.is_dir() and [name for name in os.listdir(path) if not is_system_name(name)] == [path.name]:
        path = path / path.name
    return path


def place(found: Path, target: Path) -> None:
    """Move a file or a folder to ``target``. What is there already stays, unless it is an empty file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and found.is_dir():
        for child in sorted(found.iterdir()):
            place(child, target / child.name)
    elif not os.path.lexists(target) or (target.is_file() and target.stat().st_size == 0 and found.is_file()):
        _move(found, target)


def _move(found: Path, target: Path) -> None:
    try:
        found.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The dataset's folder is a link to another disk.
        partial = target.with_name(f"{target.name}.incomplete")
        if found.is_dir():
            shutil.copytree(found, partial, dirs_exist_ok=True)
        else:
            shutil.copyfile(found, partial)
        partial.replace(target)


def sort_validation(folder: Path) -> None:
    """Sort ImageNet's flat validation images into ``folder/val/{WordNet id}`` by the development kit beside them.

    Raises ValueError: the kit or images are missing, or do not fit together.
    """
    truth, meta = find(folder, ["ILSVRC2012_validation_ground_truth.txt"]), find(folder, ["meta.mat"])
    if truth is None or meta is None:
        raise ValueError("ILSVRC2012_devkit_t12.tar.gz holds no meta.mat or no validation ground truth: fetch it again")
    synsets = np.atleast_1d(read_mat(str(meta), "synsets"))
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    for number, (place_, (identity,)) in enumerate(read_rows(str(truth), "identity"), start=1):
        image = f"ILSVRC2012_val_{number:08d}.JPEG"
        if not identity.isdecimal() or int(identity) not in wnids:
            raise ValueError(f"{place_}: unknown class {identity!r}: fetch ILSVRC2012_devkit_t12.tar.gz again")
        if not (folder / image).is_file():
            raise ValueError(f"ILSVRC2012_img_val.tar holds no {image}: fetch it again")
        place(folder / image, folder / "val" / wnids[int(identity)] / image)
