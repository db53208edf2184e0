"""Table: a user's own images, listed in a CSV file or as JSON lines.

Columns (or keys): ``path`` relative to ``DATASET.FOLDER``; ``label`` from 0, ``classname``, or both; and, if the
split is given, ``split`` (train, val, valid, validation or test).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from typing import Any

from dassl.data.datasets import DATASET_REGISTRY

from . import fewshot
from .files import Item, Splits, read_text
from .own import PARTS, SUFFIXES, OwnLoader, is_image, number_classes

COLUMNS = ("path", "label", "classname", "split")
Row = tuple[str, dict[str, Any]]
"""Place (file and line), and the values by column."""


@DATASET_REGISTRY.register()
class Table(OwnLoader):
    """Labels are the table's; without them the sorted class names, or the order of a file of names, decide."""

    def locate(self, cfg: Any) -> None:
        super().locate(cfg)
        if not cfg.DATASET.TABLE:
            raise ValueError(f"{self.name}: DATASET.TABLE is empty: name the CSV or JSON lines file of your images")
        self.table = self.inside(cfg.DATASET.TABLE)

    def fewshot_path(self, shots: int, seed: int) -> str:
        """In a folder of the table's name, since several tables may share their images."""
        folder = os.path.join(self.dataset_dir, fewshot.FOLDER, os.path.basename(self.table))
        return os.path.join(folder, fewshot.file_name(shots, seed))

    def read(self) -> Splits:
        rows = read_table(self.table)
        label_and_name = self.classes(rows)
        parts: dict[str, list[Item]] = {}
        seen: dict[str, tuple[str, str]] = {}
        for place, row in rows:
            part = PARTS.get(row.get("split", "train").lower())
            if part is None:
                raise ValueError(f"{place}: unknown split {row['split']!r}: use train, val or test")
            path = self.image_path(place, row["path"])
            if path in seen:
                first, other = seen[path]
                both = f"in both {other} and {part}" if other != part else "twice"
                raise ValueError(f"{place}: {path} is listed {both}, first in {first.rpartition(', ')[2]}")
            seen[path] = place, part
            parts.setdefault(part, []).append(Item(path, *label_and_name(place, row)))
        splits = self.complete(parts)
        return self.check(splits, self.table)

    def image_path(self, place: str, path: str) -> str:
        """Path relative to the folder; ValueError for one outside or of a file that cannot be read."""
        full = os.path.normpath(os.path.join(self.dataset_dir, path))
        if not full.startswith(os.path.join(self.dataset_dir, "")):
            raise ValueError(f"{place}: {path} lies outside DATASET.FOLDER {self.dataset_dir}")
        if not is_image(full):
            raise ValueError(f"{place}: {path} is not an image that can be read ({', '.join(SUFFIXES)})")
        return os.path.relpath(full, self.dataset_dir).replace(os.sep, "/")

    def classes(self, rows: list[Row]) -> Any:
        """A function from place and row to label and class name.

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
        """The name of a row's label; ValueError if the file of names has none."""
        label = str(label_of(place, row))
        if label not in names:
            raise ValueError(f"{place}: the file of class names has no line for label {label}: add it")
        return names[label]


def label_of(place: str, row: dict[str, Any]) -> int:
    """A row's label; ValueError if it is not a whole number from 0."""
    label = row["label"]
    if isinstance(label, str) and label.isascii() and label.isdecimal():
        return int(label)
    if type(label) is not int or label < 0:
        raise ValueError(f"{place}: label {label!r} is not a whole number from 0: names belong into classname")
    return label


def read_table(path: str) -> list[Row]:
    """The rows of a CSV (``.csv``) or JSON lines (``.jsonl``) file; all have the same columns.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another suffix, no rows, unknown or missing columns, or an empty value.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"DATASET.TABLE {path} not found")
    readers = {".csv": csv_rows, ".jsonl": json_rows}
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in readers:
        raise ValueError(f"DATASET.TABLE {path} must be a .csv or .jsonl file")
    rows = list(readers[suffix](path, read_text(path).removeprefix("\ufeff")))
    if not rows:
        raise ValueError(f"{path} lists no images")
    columns = rows[0][1].keys()
    for place, row in rows:
        unknown = [column for column in row if column not in COLUMNS]
        if unknown:
            raise ValueError(f"{place}: unknown column {unknown[0]!r}: there are {', '.join(COLUMNS)}")
        if "path" not in row or not {"label", "classname"} & row.keys():
            raise ValueError(
                f"{place}: the columns path, and label or classname, are needed; here are {', '.join(row)}"
            )
        if row.keys() != columns:
            differing = sorted(row.keys() ^ columns)[0]
            raise ValueError(f"{place}: {differing!r} must be in all rows or in none")
        for column, value in row.items():
            right = isinstance(value, str) and value.strip() or column == "label" and type(value) is int
            if not right:
                raise ValueError(
                    f"{place}: {column} is {value!r}, expected {'a number' if column == 'label' else 'text'}"
                )
    return rows


def csv_rows(path: str, text: str) -> Iterator[Row]:
    """Rows of a CSV file with a header line."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        if len(set(columns)) < len(columns):
            raise ValueError(f"{path}, line 1: a column comes twice in {', '.join(columns)}")
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row:
                raise ValueError(f"{place}: more values than columns")
            if None in row.values():
                raise ValueError(f"{place}: fewer values than columns")
            yield place, {column.strip(): value.strip() for column, value in row.items()}
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.reader.line_num}: not valid CSV ({error})") from None


def json_rows(path: str, text: str) -> Iterator[Row]:
    """One JSON object per line."""
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected a JSON object")
        yield place, row
