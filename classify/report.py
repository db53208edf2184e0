"""Predictions as a table for people, and as CSV and JSON for programs. Nothing here needs torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from common.files import write_text

Top = Sequence[tuple[str, float]]  # classes and probabilities, the likeliest first
Rows = Sequence[tuple[str, Top]]  # an image's path and its classes


def table(rows: Rows) -> str:
    """One line per image: its likeliest classes, in percent."""
    header = ["image", *range(1, len(rows[0][1]) + 1)]
    cells = [[path, *(f"{name} {100 * p:.1f}" for name, p in top)] for path, top in rows]
    return tabulate(cells, header, tablefmt="simple", disable_numparse=True)


def check_target(path: str) -> None:
    """Raises FileNotFoundError or IsADirectoryError where no file can be written, before any work is done."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {Path(path).parent}")


def write_csv(path: str, rows: Rows) -> None:
    """Columns ``image, class_1, probability_1, class_2, ...``; written atomically."""
    ranks = range(1, len(rows[0][1]) + 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))])
    writer.writerows([image, *(cell for pair in top for cell in pair)] for image, top in rows)
    write_text(Path(path), text.getvalue())


def write_json(path: str, rows: Rows, model: dict[str, Any], classes: Sequence[str]) -> None:
    """``{"model": ..., "classes": [...], "images": [...]}``, one image a line; written atomically.

    An image is ``{"image": path, "top": [{"class": ..., "probability": ...}, ...]}``.
    """
    tops = [{"image": image, "top": [{"class": c, "probability": p} for c, p in top]} for image, top in rows]
    lines = [json.dumps(one, ensure_ascii=False, allow_nan=False) for one in tops]
    head = json.dumps({"model": model, "classes": list(classes)}, ensure_ascii=False, allow_nan=False)
    write_text(Path(path), f'{head[:-1]}, "images": [\n' + ",\n".join(lines) + "\n]}\n")
