"""The files of a finished `fit` that its page shows."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
COLUMNS = {"path", "true", "predicted", "confidence", "fold"}


@dataclass(frozen=True)
class Prediction:
    """What a model that had not seen an image said of it.

    Attributes:
        path: of the image, from the folder of all images.
        confidence: from 0 to 1, after calibration.
    """

    path: str
    true: str
    predicted: str
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Fit:
    """What `fit` wrote: the content of `fit.json`, and the predictions, one for each image."""

    content: dict[str, Any]
    predictions: list[Prediction]


def load(out: Path) -> Fit:
    """Read `fit.json` and `predictions.csv`; of several predictions for an image (repeats), the first counts.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: one is damaged, or of another version; names it.
    """
    summary, table = out / "fit.json", out / "predictions.csv"
    for path in (summary, table):
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}: `python mmrl.py fit` writes it")
    try:
        content = json.loads(summary.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{summary} is damaged ({error})") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ValueError(f"{summary} is not of version {VERSION}: run `python mmrl.py fit` again")
    return Fit(content, _predictions(table))


def _predictions(path: Path) -> list[Prediction]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not COLUMNS <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} is damaged: its columns must be {', '.join(sorted(COLUMNS))}")
        found: dict[str, Prediction] = {}
        for row in rows:
            try:
                one = Prediction(row["path"], row["true"], row["predicted"], float(row["confidence"]))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {rows.line_num}, is damaged ({error})") from error
            found.setdefault(one.path, one)
    return list(found.values())
