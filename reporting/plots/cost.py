"""Cost against HM: learned values, time of a training image, images tested per second."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.plots.style import Plot, hollow, styled
from reporting.stats import average_triple
from reporting.tables.costs import MEASURES, Cost, costs
from reporting.tables.table import slug

FILES = dict(zip(MEASURES, ("learned_values", "training_time", "test_speed", "memory"), strict=True))


class Point(NamedTuple):
    """A method: its mean cost over data sets, the HM of its averages over them, and whether every seed is there."""

    row: Row
    cost: float
    hm: float
    complete: bool


def cost_plots(cells: Cells, keys: Sequence[Key]) -> Iterator[Plot]:
    """Yield a figure for each measure, backbone, number of shots and device; none with fewer than two methods."""
    for some in costs(cells, keys):
        key = some[0].key
        for device in sorted({cost.device for cost in some}):
            here = [cost for cost in some if cost.device == device]
            for measure in MEASURES:
                names, points = points_of(here, measure)
                if len(points) > 1:
                    where = names[0] if len(names) == 1 else f"mean of {len(names)} data sets"
                    title = f"HM against {measure[0].lower()}{measure[1:]}, {where}, {key.backbone}, {device}"
                    file = slug("cost", FILES[measure], key.backbone, "" if key.shots == 16 else str(key.shots), device)
                    yield Plot(file, title, cost_figure(points, measure, where))


def points_of(some: Sequence[Cost], measure: str) -> tuple[list[str], list[Point]]:
    """Return the data sets with any costs, and the rows that have cost and HM on each of them."""
    names = list(dict.fromkeys(cost.key.dataset for cost in some))
    by_row: dict[Row, list[Cost]] = defaultdict(list)
    for cost in some:
        by_row[cost.key.row].append(cost)
    points = []
    for row, mine in by_row.items():
        spent = [cost.measures[measure].center for cost in mine]
        there = [value for value in spent if value is not None]
        hm = (average_triple([cost.accuracy for cost in mine]) if len(mine) > 1 else mine[0].accuracy).hm
        if len(there) == len(names) and hm.center is not None:
            points.append(
                Point(row, statistics.mean(there), hm.center, all(cost.accuracy.hm.complete for cost in mine))
            )
    return names, points


@styled
def cost_figure(points: Sequence[Point], label: str, title: str) -> Figure:
    """Draw a mark for each method, hollow where seeds are missing; costs that differ much are on a logarithmic axis."""
    figure = Figure(figsize=(5, 3.6 + 0.2 * (len(points) // 3)))
    axis = figure.subplots()
    for place, point in enumerate(points):
        mark = {**hollow(place), "markersize": 8, "clip_on": False}
        if point.complete:
            mark["markerfacecolor"] = mark["color"]
        axis.plot([point.cost], [point.hm], label=point.row.label, **mark)
    positive = [point.cost for point in points if point.cost > 0]
    if positive and max(positive) > 20 * min(positive):
        least = 10 ** math.floor(math.log10(min(positive)))
        axis.set_xscale("symlog", linthresh=least, linscale=0.5)  # not log: zero-shot CLIP learns 0 values
        axis.set_xlim(left=0 if len(positive) < len(points) else least)
    axis.margins(0.1)
    axis.set(title=title, xlabel=label, ylabel="HM, %")
    figure.legend(loc="outside lower center", ncols=2 if len(points) < 7 else 3, fontsize=8)
    return figure
