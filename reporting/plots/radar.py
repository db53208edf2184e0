"""HM by data set as a radar (the paper's Figure 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.names import AVERAGE
from reporting.plots.style import Plot, hollow, legend_below, look, styled
from reporting.stats import Cell
from reporting.tables.base_to_new import blocks_of, groups
from reporting.tables.table import of_shots, slug

FEWEST = 3  # data sets: fewer have no area


def radar_plots(cells: Cells, keys: Sequence[Key]) -> Iterator[Plot]:
    """Yield a figure for each backbone and number of shots with three or more data sets."""
    for backbone, some in groups(keys, "base2new"):
        for _, *blocks in (found for found in blocks_of(cells, some) if found[0].name == AVERAGE):
            shots = blocks[0].shots
            by_row = {row: {block.name: block.rows[row].hm for block in blocks} for row in blocks[0].rows}
            hm = {
                row: cells for row, cells in by_row.items() if all(cell.center is not None for cell in cells.values())
            }
            if len(blocks) >= FEWEST and hm:
                title = f"HM by data set, {shots} shots, {backbone}: points below the best on each"
                name = slug("radar", backbone, of_shots(shots))
                yield Plot(name, title, radar_figure(hm))


@styled
def radar_figure(hm: Mapping[Row, Mapping[str, Cell]]) -> Figure:
    """Draw by how many points each method's HM is below the best one of a data set, which is the rim.

    All axes have the same scale, so that distances compare. A hollow mark lacks seeds.
    """
    names = list(next(iter(hm.values())))
    best = {name: max(cells[name].center or 0.0 for cells in hm.values()) for name in names}
    angles = [2 * math.pi * i / len(names) for i in range(len(names))]
    figure = Figure(figsize=(6.2, 6.4))
    axis = figure.subplots(subplot_kw={"projection": "polar"})
    axis.set_theta_offset(math.pi / 2)  # type: ignore[attr-defined]
    axis.set_theta_direction(-1)  # type: ignore[attr-defined]
    lowest = 0.0
    for place, (row, cells) in enumerate(hm.items()):
        below = [(cells[name].center or 0.0) - best[name] for name in names]
        lowest = min(lowest, *below)
        axis.plot([*angles, angles[0]], [*below, below[0]], label=row.label, **look(place))
        lacking = [i for i, name in enumerate(names) if not cells[name].complete]
        axis.plot([angles[i] for i in lacking], [below[i] for i in lacking], **hollow(place))
    axis.set_ylim(lowest * 1.15 - 0.2, 0)
    axis.set_xticks(angles, [f"{name}\n{best[name]:.1f}" for name in names])
    axis.tick_params(axis="x", pad=10)
    for label, angle in zip(axis.get_xticklabels(), angles, strict=True):
        side = math.sin(angle)
        label.set_horizontalalignment("center" if abs(side) < 0.3 else "left" if side > 0 else "right")
    axis.set_rlabel_position(180 / len(names))  # type: ignore[attr-defined]
    axis.spines["polar"].set_visible(True)
    legend_below(figure)
    return figure
