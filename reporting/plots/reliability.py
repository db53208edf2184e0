"""Reliability diagrams: how often predictions are right, by their confidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.load.scores import Confidence
from reporting.names import AVERAGE, with_average
from reporting.plots.style import COLOURS, Plot, legend_below, look, styled
from reporting.tables.base_to_new import datasets_of, rows_of
from reporting.tables.confidence import groups
from reporting.tables.table import slug
from runs.protocols import parts_of

FEWEST = 10  # images in a bin that is drawn
Panels = Mapping[str, Mapping[Row, Sequence[tuple[float, float]]]]


def reliability_plots(cells: Cells, keys: Sequence[Key], found: Confidence) -> Iterator[Plot]:
    """Yield a figure for each table of confidence and data set; where there are several, the page has their sum."""
    for title, name, some in groups(cells, keys, found):
        first, *others = with_average(datasets_of(some))
        for place in (first, *others):
            mine = [key for key in some if place in (key.dataset, AVERAGE)]
            panels = {
                part: {
                    row: _points(cells, [key for key in mine if (key.row, key.part) == (row, part)], found)
                    for row in rows_of(mine)
                }
                for part in parts_of(some[0].protocol)
            }
            where = "all data sets together" if place == AVERAGE else place
            file = slug("reliability", name.removeprefix("confidence_"), "all" if place == AVERAGE else place)
            about = f"Reliability, {where}, {title}; bins of {FEWEST} images or more, all seeds together"
            yield Plot(file, about, reliability_curves(panels), place == first)


def _points(cells: Cells, keys: Sequence[Key], found: Confidence) -> list[tuple[float, float]]:
    """Return confidence and accuracy of each bin, over the images of all runs of these keys."""
    runs = [found.bins[r.path] for key in keys for r in cells.results(key) if r.path in found.bins]
    points = []
    for rows in zip(*runs, strict=True):
        some, images = [row for row in rows if row["images"]], sum(row["images"] for row in rows)
        if images >= FEWEST:
            x, y = (sum(row[key] * row["images"] for row in some) / images for key in ("confidence", "accuracy"))
            points.append((x, y))
    return points


@styled
def reliability_curves(panels: Panels) -> Figure:
    """Draw accuracy over mean confidence of bins: a panel for each part of the classes, a line for each row."""
    figure = Figure(figsize=(4.2 * len(panels) if len(panels) > 1 else 5, 4.2))
    for axis, (part, curves) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
        for place, (row, points) in enumerate(curves.items()):
            axis.plot(*zip(*points, strict=True), label=row.label, clip_on=False, **look(place)) if points else None
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="part that is right", title=f"{part} classes")
    legend_below(figure)
    return figure


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
