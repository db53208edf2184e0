"""A user's images and their classes, as the loaders of own data read them. Nothing here needs torch."""

from __future__ import annotations

from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import datasets
from datasets.shared.files import Item
from runs.config import default_cfg


class Images(NamedTuple):
    """Images with classes.

    Attributes:
        folder: absolute; paths are relative to it.
        classes: names, in the order of labels.
        given: the images by the part that the user put them into; all in `train` where there are no parts.
    """

    folder: str
    classes: list[str]
    given: dict[str, list[Item]]

    @property
    def all(self) -> list[Item]:
        """Every image, in the order of the parts."""
        return [item for items in self.given.values() for item in items]

    @property
    def counts(self) -> list[int]:
        """Images of each class, by label."""
        found = Counter(item.label for item in self.all)
        return [found[label] for label in range(len(self.classes))]


def read(source: str | Path) -> Images:
    """Read a folder with a folder per class (or train, val and test with these in them), or a table of images.

    Raises:
        FileNotFoundError, ValueError: there is no such thing, or something is wrong in it; the message names it.
    """
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or table {source}: name the folder of your images")
    cfg = default_cfg()
    node = cfg.DATASET
    node.ALL_TRAIN, node.NAME = True, "Table" if path.is_file() else "ImageFolder"
    node.FOLDER, node.TABLE = (str(path.parent), str(path)) if path.is_file() else (str(path), "")
    with redirect_stdout(StringIO()) as said:
        loader = datasets.load(node.NAME)(cfg)
    for line in said.getvalue().splitlines()[:-1]:  # the last one counts the images of lists that are not used
        print(line)
    return Images(loader.dataset_dir, list(loader.all_classnames), loader.given)
