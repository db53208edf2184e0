"""What the loaders of a user's own data share: where it is, what classes are called, which lists are made.

Of the lists train, val and test these combinations are taken:

- all three, or train and test: as they are (few-shot training needs no validation images)
- train and val: val is the test list, and there are no validation images
- one unnamed list, or train alone: a fixed split (50/20/30% of each class, by a hash of the paths, see `own_split`)
- test alone: for testing only, such as the target of a cross-dataset run

With ``DATASET.ALL_TRAIN`` the training list is all images but those of val, and the test list is the training list: for
a model whose accuracy is known from others, such as those of a cross-validation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..shared.base import Loader, find_root
from ..shared.files import Item, Splits
from ..shared.splits import check_labels, group_by_label
from .class_names import read_names, tell_apart
from .split import split_by_path

NAMES_FILES = ("classnames.txt", "classnames.json")


class OwnLoader(Loader):
    """A user's own data.

    Args:
        cfg: reads ``DATASET.FOLDER`` (relative to the root, or absolute), ``DATASET.CLASSNAMES`` (a file, relative to
            the folder or absolute), ``DATASET.ALL_TRAIN`` and what every loader reads.

    Attributes:
        given: the lists as the user has them, by part, before they are combined.

    Raises:
        FileNotFoundError: the folder, a file or an image is missing.
        ValueError: something is wrong with them; the message names it.
    """

    repair = "put them there, or take them off the list"
    named_by = ""

    def locate(self, cfg: Any) -> None:
        folder = os.path.expanduser(cfg.DATASET.FOLDER)
        if not folder:
            raise ValueError(
                f"{self.name}: DATASET.FOLDER is empty: name the folder of your images, in the root or absolute"
            )
        if not os.path.isabs(folder):
            folder = os.path.join(find_root(cfg.DATASET.ROOT), folder)
        self.given_dir = self.dataset_dir = self.image_dir = os.path.normpath(folder)
        self.all_train = cfg.DATASET.ALL_TRAIN
        self.names_file = cfg.DATASET.CLASSNAMES and self.inside(cfg.DATASET.CLASSNAMES)

    def prepare(self) -> None:
        if not os.path.isdir(self.image_dir):
            raise FileNotFoundError(f"{self.name}: DATASET.FOLDER {self.image_dir} not found: put your images there")

    def inside(self, path: str) -> str:
        """Complete a path that is relative to the dataset's folder unless it is absolute."""
        return os.path.normpath(os.path.join(self.dataset_dir, os.path.expanduser(path)))

    def class_names(self) -> dict[str, str] | None:
        """Return class names by key in their file's order, None without a file of them; ``named_by`` is its path."""
        folders = dict.fromkeys((self.given_dir, self.dataset_dir))
        paths = [os.path.join(folder, name) for folder in folders for name in NAMES_FILES]
        found = [path for path in paths if os.path.isfile(path)]
        if not self.names_file and len(found) > 1:
            raise ValueError(f"{self.name}: there are both {found[0]} and {found[1]}: remove one")
        self.named_by = path = self.names_file or next(iter(found), "")
        if not path:
            return None
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{self.name}: DATASET.CLASSNAMES {path} not found")
        print(f"{self.name}: class names and their order are from {path}")
        return read_names(path)

    def select(self, splits: Splits, shots: int, seed: int) -> Splits:
        """Draw as every loader does; nothing is drawn of images for testing only."""
        return super().select(splits, -1 if splits.train is splits.test else shots, seed)

    def tell_apart(self, classes: Iterable[tuple[str, str, str]]) -> None:
        """See that names (each with its key in a file of names, and its place without one) differ; ValueError."""
        named = ((name, f"{key!r} in {self.named_by}" if self.named_by else place) for name, key, place in classes)
        tell_apart(self.name, named)

    def complete(self, parts: dict[str, list[Item]]) -> Splits:
        """Make the three lists from those that are given (module's docstring), check them, and say what was made.

        Raises:
            ValueError: another combination, one class only, or labels that do not fit together.
        """
        self.given = {part: items for part, items in parts.items() if items}
        splits, said = self._combine(self.given)
        check_labels(splits, self.dataset_dir)
        names = {item.label: item.classname for item in splits.train}
        if len(names) < 2:
            raise ValueError(
                f"{self.name}: {self.dataset_dir} has one class only ({names[0]!r}): at least 2 are needed"
            )
        sizes = ", ".join(f"{len(items)} {part}" for part, items in zip(Splits._fields, splits, strict=True))
        print(f"{self.name}: {len(names)} classes in {self.dataset_dir}, {said}: {sizes}")
        return splits

    def _combine(self, given: dict[str, list[Item]]) -> tuple[Splits, str]:
        train, val, test = (given.get(part, []) for part in Splits._fields)
        if self.all_train:
            return Splits(train + test, val, train + test), "all for training: the test list is the training list"
        if train and test:
            return Splits(train, val, test), "split as given"
        if train and val:
            return Splits(train, [], val), "split as given with val as the test list"
        if train:
            return split_by_path(
                group_by_label(train)
            ), "with a fixed split of 50/20/30% of each class, the same for every seed"
        self.check_parts(given)
        return Splits(test, [], test), "for testing only: the training list is the test list, do not train on it"

    def check_parts(self, given: Iterable[str]) -> None:
        """Refuse parts without a training part, unless it is the test part alone; ValueError."""
        if "train" not in given and set(given) != {"test"}:
            raise ValueError(
                f"{self.name}: {self.dataset_dir} has {' and '.join(sorted(given))} but no train: name one so, or leave"
                " the split out"
            )


def no_image(name: str) -> str:
    """Say why a file is not read."""
    return f"not an image that can be read ({os.path.splitext(name)[1] or 'no suffix'})"
