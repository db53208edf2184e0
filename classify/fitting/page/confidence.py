"""The page's section on confidence: whether it can be trusted, and what is gained by leaving images undecided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from reporting.page import figure
from reporting.plots.style import COLOURS, Plot, styled

from .html import fold, number, table
from .load import Fit

REJECT_BELOW = (0, 0.5, 0.7, 0.8, 0.9, 0.95)


def section(fit: Fit) -> Iterator[str]:
    """Yield reliability diagrams before and after calibration, and accuracy where the least certain are left out."""
    told = fit.content["calibration"]
    yield (
        "<p>Of images with a confidence of 80%, 80% should be right: bars on the dashed line. Calibration divides the "
        f"scores by a temperature, here {told['temperature']:.3g}; no prediction changes by it.</p>"
    )
    plots = [
        Plot(
            when, f"Reliability {when} calibration, ECE {told[f'ece_{when}']:.1f}%", _reliability(told[f"bins_{when}"])
        )
        for when in ("before", "after")
    ]
    yield f'<div class="plots">{"".join(map(figure, plots))}</div>'
    rows = [_bin(*pair) for pair in zip(told["bins_before"], told["bins_after"], strict=True)]
    headers = "Confidence", "Images before", "Right before", "Images after", "Right after"
    numbers = table(headers, [row for row in rows if row], "The bins of both diagrams, in percent")
    yield fold("Show the numbers", numbers)
    values = np.array([one.confidence for one in fit.predictions])
    right = np.array([one.right for one in fit.predictions])
    yield table(
        ("Confidence of at least", "Images decided", "Accuracy"),
        [_decided(right[values >= least], len(right), least) for least in REJECT_BELOW],
        "If less certain images are left undecided, in percent",
    )


def _bin(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a row on a bin before and after calibration; nothing if it is empty in both."""
    if not before["images"] and not after["images"]:
        return []
    cells = [f"{100 * before['low']:.0f} to {100 * before['high']:.0f}"]
    for row in (before, after):
        cells += [str(row["images"]), number(None if row["accuracy"] is None else 100 * row["accuracy"])]
    return cells


def _decided(right: np.ndarray, total: int, least: float) -> list[str]:
    accuracy = number(100 * right.mean()) if len(right) else "-"
    return [f"{100 * least:.0f}", number(100 * len(right) / total), accuracy]


@styled
def _reliability(bins: list[dict[str, Any]]) -> Figure:
    """Draw the accuracy of each bin as a bar, its confidence as a mark, and how many images it has below."""
    drawn = Figure(figsize=(3.6, 3.8), facecolor="none")
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    some = [row for row in bins if row["images"]]
    edges = {"x": [row["low"] for row in some], "width": [row["high"] - row["low"] for row in some], "align": "edge"}
    accuracy, confidence, images = ([row[key] for row in some] for key in ("accuracy", "confidence", "images"))
    top.bar(height=accuracy, color=COLOURS[0], alpha=0.75, edgecolor="white", **edges)
    top.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    top.plot(confidence, accuracy, color=COLOURS[1], marker="o", markersize=4, linestyle="")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="part that is right", facecolor="none")
    bottom.bar(height=images, color="grey", edgecolor="white", **edges)
    bottom.set(xlabel="confidence", ylabel="images", facecolor="none")
    return drawn
