"""Predictions as a table for people, and as CSV and JSON for programs. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from common.files import write_text
from common.text import as_csv

Top = Sequence[tuple[str, float]]  # classes and probabilities, the likeliest first
Rows = Sequence[tuple[str, Top]]  # an image's path and its classes
Decisions = Sequence[tuple[str, float]]  # of each row, or none: the class or `undecided`, its calibrated probability
DECISION = ("decision", "confidence")


def table(rows: Rows, decisions: Decisions = ()) -> str:
    """One line per image: what was decided, if anything was, and its likeliest classes, in percent."""
    header = ["image", *DECISION[: bool(decisions)], *range(1, len(rows[0][1]) + 1)]
    pairs = [(path, [*decisions[i : i + 1], *top]) for i, (path, top) in enumerate(rows)]
    cells = [[path, *(f"{name} {100 * p:.1f}" for name, p in row)] for path, row in pairs]
    return tabulate(cells, header, tablefmt="simple", disable_numparse=True)


def check_target(path: str) -> None:
    """Raises FileNotFoundError or IsADirectoryError where no file can be written, before any work is done."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {Path(path).parent}")


def write_csv(path: str, rows: Rows, decisions: Decisions = ()) -> None:
    """Columns ``image, class_1, probability_1, class_2, ...``, then decision, confidence; written atomically."""
    ranks = range(1, len(rows[0][1]) + 1)
    header = ["image", *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability"))]
    header += DECISION if decisions else ()
    lines = [
        [image, *(cell for pair in (*top, *decisions[i : i + 1]) for cell in pair)]
        for i, (image, top) in enumerate(rows)
    ]
    write_text(Path(path), as_csv([header, *lines]))


def write_json(path: str, rows: Rows, model: dict[str, Any], classes: Sequence[str], decisions: Decisions = ()) -> None:
    """``{"model": ..., "classes": [...], "images": [...]}``, one image a line; written atomically.

    An image is ``{"image": path, "top": [{"class": ..., "probability": ...}, ...]}``, with "decision" and "confidence"
    where there are decisions.
    """
    tops = [{"image": image, "top": [{"class": c, "probability": p} for c, p in top]} for image, top in rows]
    ends = [dict(zip(DECISION, decision, strict=True)) for decision in decisions] or [{}] * len(rows)
    lines = [
        json.dumps({**one, **end}, ensure_ascii=False, allow_nan=False) for one, end in zip(tops, ends, strict=True)
    ]
    head = json.dumps({"model": model, "classes": list(classes)}, ensure_ascii=False, allow_nan=False)
    write_text(Path(path), f'{head[:-1]}, "images": [\n' + ",\n".join(lines) + "\n]}\n")
