"""Copies of classified images in a folder per class. Nothing here needs torch."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from filecmp import cmp
from itertools import count
from pathlib import Path

from common.files import replacing


def copy_into(folder: str, sorted_images: Iterable[tuple[str, str]]) -> int:
    """Copy each image of (path, class) into `folder`/class and return how many new copies there are.

    A copy that is there already stays; where another file has the name, the copy gets a number. A slash in a class
    name, and a dot that it begins with, are written as in addresses (`and/or`: `and%2For`).

    Raises OSError naming a file that cannot be copied.
    """
    copied = 0
    for path, name in sorted_images:
        place, source = Path(folder) / re.sub(r"^\.|[/\\]", lambda found: f"%{ord(found[0]):02X}", name), Path(path)
        place.mkdir(parents=True, exist_ok=True)
        target = next(one for one in _names(place, source) if not one.exists() or cmp(source, one, shallow=False))
        if not target.exists():
            with replacing(target) as partial:
                shutil.copyfile(source, partial)
            copied += 1
    return copied


def _names(place: Path, source: Path) -> Iterator[Path]:
    yield place / source.name
    yield from (place / f"{source.stem}_{number}{source.suffix}" for number in count(2))
