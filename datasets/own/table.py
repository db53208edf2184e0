"""Table: a user's own images, listed in a CSV file or as JSON lines.

Columns (or keys): ``path`` relative to ``DATASET.FOLDER``; ``label`` from 0, ``classname``, or both; and, if the
split is given, ``split`` (train, val or test, or what else they are called, see `folders.PARTS`).
"""

from __future__ import annotations

import os
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from ..shared import fewshot
from ..shared.files import Item, Splits
from ..shared.folders import part_of
from ..shared.image_files import is_image_file
from .base import OwnLoader, no_image
from .class_names import number_classes
from .paths import Finder
from .rows import Row, read_table


@DATASET_REGISTRY.register()
class Table(OwnLoader):
    """Labels are the table's; without them the sorted class names, or the order of a file of names, decide."""

    def locate(self, cfg: Any) -> None:
        super().locate(cfg)
        if not cfg.DATASET.TABLE:
            raise ValueError(f"{self.name}: DATASET.TABLE is empty: name the CSV or JSON lines file of your images")
        self.table = self.inside(cfg.DATASET.TABLE)

    def fewshot_path(self, shots: int, seed: int) -> str:
        """Return a path in a folder of the table's name, since several tables may share their images."""
        folder = os.path.join(self.dataset_dir, fewshot.FOLDER, os.path.basename(self.table))
        return os.path.join(folder, fewshot.file_name(shots, seed))

    def read(self) -> Splits:
        rows = read_table(self.table)
        label_and_name = self.classes(rows)
        self.finder = Finder(self.dataset_dir)
        parts: dict[str, list[Item]] = {}
        seen: dict[str, tuple[str, str]] = {}
        named: dict[tuple[int, str], tuple[str, str]] = {}
        for place, row in rows:
            part = part_of(row.get("split", "train"))
            if part is None:
                raise ValueError(f"{place}: unknown split {row['split']!r}: use train, val or test")
            path = self.image_path(place, row["path"])
            if path in seen:
                first, other = seen[path]
                both = f"in both {other} and {part}" if other != part else "twice"
                raise ValueError(f"{place}: {path} is listed {both}, first in {first.rpartition(', ')[2]}")
            seen[path] = place, part
            label, name = label_and_name(place, row)
            named.setdefault((label, name), (str(row.get("label", row.get("classname"))), place))
            parts.setdefault(part, []).append(Item(path, label, name))
        self.tell_apart((name, key, place) for (_, name), (key, place) in named.items())
        splits = self.complete(parts)
        return self.check(splits, self.table)

    def image_path(self, place: str, written: str) -> str:
        """Return the path relative to the folder; ValueError for one outside, or of a file that cannot be read."""
        full = os.path.normpath(os.path.join(self.dataset_dir, self.finder.find(place, written)))
        inside = os.path.join(self.dataset_dir, "")
        if not full.startswith(inside):
            raise ValueError(f"{place}: {written} lies outside DATASET.FOLDER {self.dataset_dir}")
        if not is_image_file(full):
            raise ValueError(f"{place}: {written} is {no_image(full)}")
        return full[len(inside) :].replace(os.sep, "/")

    def classes(self, rows: list[Row]) -> Any:
        """Return a function from place and row to label and class name.

        Raises:
            ValueError: no names for labels, names twice, or a label with two names.
        """
        columns = rows[0][1].keys()
        if "label" not in columns:
            numbers = number_classes((row["classname"] for _, row in rows), self.class_names(), self.table)
            return lambda place, row: numbers[row["classname"]]
        if "classname" not in columns:
            names = self.class_names()
            if names is None:
                raise ValueError(
                    f"{self.table} has labels without names: add a column classname, or name a file of them in"
                    " DATASET.CLASSNAMES"
                )
            return lambda place, row: (label_of(place, row), self.name_of(place, row, names))
        if self.names_file:
            raise ValueError(f"{self.table} has a column classname: DATASET.CLASSNAMES would name the classes twice")
        known: dict[int, tuple[str, str]] = {}
        for place, row in rows:
            label = label_of(place, row)
            name, first = known.setdefault(label, (row["classname"], place))
            if name != row["classname"]:
                line = first.rpartition(", ")[2]
                raise ValueError(f"{place}: label {label} is called {row['classname']!r}, but {name!r} in {line}")
        return lambda place, row: (label_of(place, row), row["classname"])

    def name_of(self, place: str, row: dict[str, Any], names: dict[str, str]) -> str:
        """Return the name of a row's label; ValueError if the file of names has none."""
        label = str(label_of(place, row))
        if label not in names:
            raise ValueError(f"{place}: the file of class names has no line for label {label}: add it")
        return names[label]


def label_of(place: str, row: dict[str, Any]) -> int:
    """Return a row's label; ValueError if it is not a whole number from 0."""
    label = row["label"]
    if isinstance(label, str) and label.isascii() and label.isdecimal():
        return int(label)
    if type(label) is not int or label < 0:
        raise ValueError(f"{place}: label {label!r} is not a whole number from 0: names belong into classname")
    return label
