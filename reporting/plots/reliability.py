"""Reliability diagrams: how often predictions are right, by their confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from reporting.plots.style import COLOURS, styled


@styled
def reliability(bins: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Draw rows of `reporting.calibration.bins`: accuracy as bars, mean confidence as marks on them, images below."""
    drawn = Figure(figsize=(3.6, 3.8))
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    some = [row for row in bins if row["images"]]
    edges = {"x": [row["low"] for row in some], "width": [row["high"] - row["low"] for row in some], "align": "edge"}
    accuracy, confidence, images = ([row[key] for row in some] for key in ("accuracy", "confidence", "images"))
    top.bar(height=accuracy, color=COLOURS[0], alpha=0.75, edgecolor="white", **edges)
    top.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    top.plot(confidence, accuracy, color=COLOURS[1], marker="o", markersize=4, linestyle="")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="part that is right", title=title)
    bottom.bar(height=images, color="grey", edgecolor="white", **edges)
    bottom.set(xlabel="confidence", ylabel="images")
    return drawn
