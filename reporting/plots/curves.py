"""Curves: accuracy over shots (the paper's Figure 4), and over a swept setting (Figure 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.names import block_name, with_average
from reporting.plots.style import Plot, hollow, legend_below, look, styled
from reporting.stats import Cell, Triple
from reporting.sweeps import Sweep, as_number, sweeps
from reporting.tables.base_to_new import datasets_of, groups
from reporting.tables.table import slug
from reporting.tables.wide import few_shot_cells

PARTS = ("Base", "New", "HM")
Curves = Mapping[Row, Mapping[int, Cell]]  # by number of shots


def few_shot_plots(cells: Cells, keys: Sequence[Key]) -> Iterator[Plot]:
    """Yield a figure for each data set and their average, and one of all; none below two numbers of shots."""
    for backbone, some in groups(keys, "fewshot"):
        if len({key.shots for key in some}) < 2:
            continue
        found = {
            name: curves
            for name, curves in few_shot_cells(cells, some).items()
            if any(cell.center is not None for by_shots in curves.values() for cell in by_shots.values())
        }
        titles = {name: block_name(name, datasets_of(some)) for name in found}
        for name, curves in found.items():
            title = f"Few-shot, {titles[name]}, {backbone}"
            yield Plot(slug("few_shot", backbone, name), title, shots_figure({titles[name]: curves}))
        if len(found) > 1:
            every = shots_figure({titles[name]: curves for name, curves in found.items()})
            yield Plot(slug("few_shot", backbone, "all"), f"Few-shot, {backbone}", every, on_page=False)


@styled
def shots_figure(panels: Mapping[str, Curves]) -> Figure:
    """Draw accuracy over shots: a panel for each data set, a line for each method, the standard deviation as bars."""
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    rows = len(next(iter(panels.values())))
    figure = Figure(figsize=(4.2 * across if across > 1 else 5, 3.2 * down + 0.25 * math.ceil(rows / 3)))
    axes = figure.subplots(down, across, squeeze=False).flat
    for axis, (name, curves) in zip(axes, panels.items(), strict=False):
        shots = sorted({count for cells in curves.values() for count in cells})
        for place, (row, cells) in enumerate(curves.items()):
            there = {count: cell for count, cell in cells.items() if cell.center is not None}
            _line(axis, [float(count) for count in there], list(there.values()), row.label, place)
        axis.set_xscale("log", base=2)
        axis.set_xticks(shots, [str(count) for count in shots])
        axis.minorticks_off()
        axis.set(title=name, xlabel="shots per class", ylabel="accuracy, %")
    for axis in list(axes)[len(panels) :]:
        axis.remove()
    legend_below(figure)
    return figure


def _line(axis: Any, x: Sequence[float], cells: Sequence[Cell], label: str, place: int) -> None:
    """Draw a line with bars of one standard deviation; hollow markers where seeds are missing."""
    y = [cell.center for cell in cells]
    spread = [cell.spread or 0.0 for cell in cells]
    style = look(place)
    axis.errorbar(x, y, yerr=spread if any(spread) else None, label=label, capsize=2.5, elinewidth=0.8, **style)
    lacking = [(a, b) for a, b, cell in zip(x, y, cells, strict=True) if not cell.complete]
    if lacking:
        axis.plot(*zip(*lacking, strict=True), **hollow(place))


def ablation_plots(cells: Cells, keys: Sequence[Key]) -> Iterator[Plot]:
    """Yield base, new and HM over each setting of numbers, or of lists (by their first), on average and by data set."""
    for sweep in sweeps(cells, keys):
        if len(sweep.values) < 2 or any(as_number(value) is None for value in sweep.values):
            continue
        first, *others = with_average(sweep.datasets)
        label = axis_label(sweep)
        for name in (first, *(name for name in others if name not in sweep.own)):
            triples = {value: sweep.triple(cells, value, name) for value in sweep.values}
            if all(cell.center is None for triple in triples.values() for cell in triple):
                continue
            where = block_name(name, sweep.datasets)
            title = f"{sweep.method}: {label}, {where}, {sweep.backbone}"
            file = slug("ablation", sweep.method, sweep.short, sweep.backbone, name)
            yield Plot(file, title, sweep_figure(triples, label, where), name == first)


def axis_label(sweep: Sweep) -> str:
    """Return what the horizontal axis of a sweep shows."""
    is_list = any("," in value for value in sweep.values)
    return f"first layer of {sweep.short}" if is_list else sweep.short


@styled
def sweep_figure(triples: Mapping[str, Triple], label: str, title: str) -> Figure:
    """Draw base, new and HM by a setting's value; values stand at equal distances, as they often grow by factors."""
    figure = Figure(figsize=(5, 3.6))
    axis = figure.subplots()
    ticks = [f"{as_number(value):g}" for value in triples]
    for place, part in enumerate(PARTS):
        cells = enumerate(triple[place] for triple in triples.values())
        there = [(float(i), cell) for i, cell in cells if cell.center is not None]
        _line(axis, [x for x, _ in there], [cell for _, cell in there], part, place)
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set(title=title, xlabel=label, ylabel="accuracy, %")
    legend_below(figure)
    return figure
