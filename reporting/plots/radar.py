"""HM by data set as a radar (the paper's Figure 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from reporting.cells import Cell, Cells
from reporting.names import AVERAGE
from reporting.plots.style import Plot, hollow, look, styled
from reporting.result import Key, Row
from reporting.sweeps import is_ablation
from reporting.table import slug
from reporting.tables import base_to_new_cells, datasets_of, groups, rows_of

FEWEST = 3  # data sets: fewer have no area


def radar_plots(cells: Cells, keys: Sequence[Key]) -> Iterator[Plot]:
    """A figure for each backbone and number of shots with three or more data sets."""
    for backbone, all_keys in groups(keys, "base2new"):
        some = [key for key in all_keys if not is_ablation(key)]
        names = datasets_of(some)
        for shots in sorted({key.shots for key in some}):
            found = base_to_new_cells(cells, some, rows_of(some), names, shots)
            hm = {
                row: {name: found[name][row][1][2] for name in names}
                for row in rows_of(some)
                if all(found[name][row][1][2].center is not None for name in found if name != AVERAGE)
            }
            if len(names) >= FEWEST and hm:
                title = f"HM by data set, {shots} shots, {backbone}: points below the best on each"
                name = slug("radar", backbone, "" if shots == 16 else f"{shots}_shots")
                yield Plot(name, title, radar_figure(hm))


@styled
def radar_figure(hm: Mapping[Row, Mapping[str, Cell]]) -> Figure:
    """How many points each method's HM is below the best of a data set: that is the rim, with its HM beside it.

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
    figure.legend(loc="outside lower center", ncols=3, handlelength=3.2)
    return figure
