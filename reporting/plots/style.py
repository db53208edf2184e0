"""What all figures share: colours that colour-blind readers tell apart, lines that differ in print, the files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.files import write_bytes

# Okabe and Ito's palette, its yellow darkened to be seen on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A7A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "report",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Plot:
    """A figure for a report.

    Attributes:
        name: of its files.
        title: what it shows, in words for those who cannot see it too.
        on_page: whether the page shows it; the others are files only.
    """

    name: str
    title: str
    figure: Figure
    on_page: bool = True


def look(place: int) -> dict[str, Any]:
    """Return how the series at a place is drawn: colour, marker and dashes go round with different periods."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place % len(DASHES)],
        "markersize": 5,
        "linewidth": 1.5,
    }


def hollow(place: int) -> dict[str, Any]:
    """Return how a series' marks are drawn where seeds are missing."""
    return {**look(place), "linestyle": "", "markerfacecolor": "white", "zorder": 3}


def legend_below(figure: Figure) -> None:
    """Name the series of a figure's first axes below it."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=3.2)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Return a function that draws a figure as one that draws it in the report's style."""

    def wrapped(*args: Any, **options: Any) -> Figure:
        with rc_context(STYLE):
            figure = draw(*args, **options)
            FigureCanvasAgg(figure).draw()  # the layout is settled under the same style
            return figure

    return wrapped


@cache
def image(figure: Figure, kind: str) -> bytes:
    """Return a figure as `png` or `svg`; equal figures give equal bytes."""
    options: dict[str, Any] = {"dpi": 150} if kind == "png" else {"metadata": {"Date": None}}
    content = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(content, format=kind, bbox_inches="tight", **options)
    return content.getvalue()


def save(plot: Plot, folder: Path) -> list[Path]:
    """Write a plot as PNG and SVG. Returns the files."""
    paths = [folder / f"{plot.name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        write_bytes(path, image(plot.figure, path.suffix[1:]))
    return paths
