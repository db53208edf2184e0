"""The figures about classes: who is taken for whom, and what was gained over zero-shot CLIP."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from .measure import Row, matrix
from .observe import Observed
from .plots import COLOURS, STYLE, short

MATRIX_CLASSES = 30  # more names cannot be read
NUMBERED = 16  # up to here each cell has its number
GAIN_CLASSES = 40


def confusion_matrix(found: Observed, title: str) -> Figure:
    """Plot percent of each true class (row) by predicted class; of many classes, those with the most errors."""
    labels = found.most_wrong(range(len(found.classes)), MATRIX_CLASSES)
    shares, others = matrix(found, labels)
    names = [short(found.classes[label]) for label in labels]
    columns = [*names, *(["all others"] if others else [])]
    side = 2.2 + 0.34 * len(columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.2, side), max(3.4, side - 0.6)), layout="constrained")
        panel = figure.subplots()
        image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        panel.set_xticks(range(len(columns)), columns, rotation=90)
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel("predicted")
        panel.set_ylabel("true")
        if len(columns) <= NUMBERED:
            for (row, column), share in np.ndenumerate(shares):
                dark = "white" if share > 55 else "black"
                panel.text(column, row, f"{share:.0f}", ha="center", va="center", color=dark, fontsize=7)
        figure.colorbar(image, ax=panel, label="% of the true class", shrink=0.8)
        some = "" if len(labels) == len(found.classes) else f"\nthe {len(labels)} classes with the most errors"
        panel.set_title(f"{title}{some}")
    return figure


def gains(rows: list[Row], title: str) -> Figure:
    """Plot points of accuracy over zero-shot CLIP by class; of many, the largest losses and gains."""
    ordered = sorted((row for row in rows if row["gain"] is not None), key=lambda row: row["gain"])
    shown, half = ordered, GAIN_CLASSES // 2
    if len(ordered) > GAIN_CLASSES:
        shown = [*ordered[:half], *ordered[-half:]]
        title += f"\nthe {half} lowest and the {half} highest of {len(ordered)} classes"
    values = [row["gain"] for row in shown]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4, 1.3 + 0.2 * len(shown)), layout="constrained")
        panel = figure.subplots()
        colours = [COLOURS[0] if value >= 0 else COLOURS[3] for value in values]
        panel.barh(range(len(shown)), values, color=colours)
        panel.set_yticks(range(len(shown)), [short(row["class"]) for row in shown])
        panel.set_ylim(-0.6, len(shown) - 0.4)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set_xlabel("accuracy less zero-shot CLIP's, points")
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
        panel.set_title(title)
    return figure
