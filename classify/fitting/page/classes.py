"""The page's sections on classes: how good each is, which are taken for which, and their prompts."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from .html import bar, number, paragraph, scrolling, table
from .load import Fit

MATRIX_CLASSES = 20  # more cannot be read
PAIRS = 10


def section(fit: Fit) -> Iterator[str]:
    """Yield a bar of accuracy for each class beside zero-shot CLIP's, the worst first."""
    tested = [row for row in fit.content["per_class"] if row["accuracy"] is not None]
    rows = [_row(row) for row in sorted(tested, key=lambda row: row["accuracy"])]
    yield paragraph(
        "The bar is the accuracy, the line across it that of zero-shot CLIP; the worst comes first.", "notes"
    )
    if untested := [row["class"] for row in fit.content["per_class"] if row["accuracy"] is None]:
        yield paragraph(f"No image was tested of {', '.join(untested)}.", "notes")
    yield table(("Class", "Accuracy", "Zero-shot", "0 to 100", "Images"), rows, "Accuracy by class, in percent")


def _row(row: dict[str, Any]) -> list[str]:
    return [
        escape(row["class"]),
        number(row["accuracy"]),
        number(row["zero_shot_accuracy"]),
        bar(0, row["accuracy"], row["zero_shot_accuracy"]),
        str(row["images"]),
    ]


def confusions(fit: Fit) -> Iterator[str]:
    """Yield the confusion matrix, of many classes those that are confused most, and the most frequent confusions."""
    classes, counts = fit.content["classes"], np.array(fit.content["confusion"])
    wrong = counts - np.diag(np.diag(counts))
    shown = _most_confused(wrong)
    some = "" if len(shown) == len(classes) else f", the {len(shown)} of {len(classes)} classes confused most"
    yield _matrix(classes, counts, shown, f"Images by true class (row) and predicted class (column){some}")
    pairs = _pairs(wrong)[:PAIRS]
    if pairs:
        rows = [
            [escape(classes[t]), escape(classes[g]), str(wrong[t, g]), number(100 * wrong[t, g] / counts[t].sum())]
            for t, g in pairs
        ]
        yield table(("True", "Predicted", "Images", "Share, %"), rows, "Most frequent confusions", "words")
    else:
        yield paragraph("No image was taken for another class.")


def _pairs(wrong: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs (true, predicted) that occur, the most frequent first."""
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    return [divmod(int(place), len(wrong)) for place in order]


def _most_confused(wrong: np.ndarray) -> list[int]:
    """Return all classes, or those of the most frequent confusions, by label."""
    if len(wrong) <= MATRIX_CLASSES:
        return list(range(len(wrong)))
    ranked = dict.fromkeys([label for pair in _pairs(wrong) for label in pair] + list(range(len(wrong))))
    return sorted(list(ranked)[:MATRIX_CLASSES])


def _matrix(classes: list[str], counts: np.ndarray, shown: list[int], caption: str) -> str:
    names = [escape(classes[label]) for label in shown]
    others = [label for label in range(len(classes)) if label not in shown]
    heads = [*names, "all others"] if others else names
    lines = []
    for name, label in zip(names, shown, strict=True):
        total = max(counts[label].sum(), 1)
        cells = [_cell(counts[label, guess] / total, counts[label, guess], guess == label) for guess in shown]
        if others:
            rest = counts[label, others].sum()
            cells.append(_cell(rest / total, rest, False))
        lines.append(f'<tr><th scope="row" title="{name}">{name}</th>{"".join(cells)}</tr>')
    columns = "".join(f'<th scope="col" title="{name}"><span>{name}</span></th>' for name in heads)
    return scrolling(f"<td></td>{columns}", "\n".join(lines), caption, "matrix")


def _cell(share: float, count: int, right: bool) -> str:
    """Return a cell as dark as its share of the true class; even the darkest leaves its number readable."""
    if not count:
        return '<td class="none">0</td>'
    colour = "0,114,178" if right else "213,94,0"
    return f'<td style="background:rgba({colour},{0.1 + 0.45 * share:.2f})">{count}</td>'


def prompts(fit: Fit) -> Iterator[str]:
    """Yield what text stood for each class."""
    told = fit.content["prompts"]
    yield paragraph(told["text"])
    if told["texts"]:
        rows = [[escape(name), escape(text)] for name, text in zip(fit.content["classes"], told["texts"], strict=True)]
        yield table(("Class", "Prompt"), rows, "The prompt of each class", "words")
