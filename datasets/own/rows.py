"""Tables as people save them: CSV with commas, semicolons or tabs, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from typing import Any

from common.text import read_users_text

COLUMNS = ("path", "label", "classname", "split")
SEPARATORS = (",", ";", "\t")
Row = tuple[str, dict[str, Any]]
"""Place (file and line), and the values by column."""


def read_table(path: str) -> list[Row]:
    """Read the rows of a CSV (``.csv``, ``.tsv``, ``.txt``) or JSON lines (``.jsonl``) file; all have the same columns.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another suffix, no rows, unknown or missing columns, or an empty value.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"DATASET.TABLE {path} not found")
    readers = {".csv": csv_rows, ".tsv": csv_rows, ".txt": csv_rows, ".jsonl": json_rows}
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in readers:
        raise ValueError(f"DATASET.TABLE {path} must be a .csv, .tsv, .txt or .jsonl file")
    rows = list(readers[suffix](path, read_users_text(path)))
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


def separator(text: str) -> str:
    """Return what stands between the columns: the mark at which the header line shows most known columns."""
    header = text.partition("\n")[0]

    def known(mark: str) -> int:
        return sum(column.strip(' "').lower() in COLUMNS for column in header.split(mark))

    return max(SEPARATORS, key=known)


def csv_rows(path: str, text: str) -> Iterator[Row]:
    """Read the rows of a CSV file with a header line; lines of empty values, as spreadsheets add, are blank lines."""
    reader = csv.DictReader(io.StringIO(text), strict=True, delimiter=separator(text))
    try:
        columns = [column.strip().lower() for column in reader.fieldnames or ()]
        if len(set(columns)) < len(columns):
            raise ValueError(f"{path}, line 1: a column comes twice in {', '.join(columns)}")
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row:
                raise ValueError(f"{place}: more values than columns")
            if None in row.values():
                raise ValueError(f"{place}: fewer values than columns")
            if any(map(str.strip, row.values())):
                yield place, dict(zip(columns, map(str.strip, row.values()), strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.reader.line_num}: not valid CSV ({error})") from None


def json_rows(path: str, text: str) -> Iterator[Row]:
    """Read the rows of a file with one JSON object per line."""
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
