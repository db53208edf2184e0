"""The figures of an inspection, each as PNG and SVG, with colours that colour-blind readers tell apart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from common.files import write_bytes

from .measure import Row
from .observe import Observed
from .project import Chosen

# Okabe and Ito's palette; with two markers it serves 16 classes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#B8A800")
MARKERS = ("o", "^")
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "inspection"}


def save(figure: Figure, folder: Path, name: str) -> list[str]:
    """Write ``name.png`` and ``name.svg``; equal figures make equal files. Returns the names."""
    names = []
    for kind, options in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
        content = io.BytesIO()
        with rc_context(STYLE):  # its salt goes into the SVG's ids
            figure.savefig(content, format=kind, bbox_inches="tight", **options)  # type: ignore[arg-type]
        write_bytes(folder / f"{name}.{kind}", content.getvalue())
        names.append(f"{name}.{kind}")
    return names


def scatter(
    found: Observed, chosen: Chosen, flat: dict[str, np.ndarray], axes: dict[str, tuple[str, str]], title: str
) -> Figure:
    """Plot a panel per kind of feature, images ``[N, 2]`` coloured by class; open marks are wrong predictions."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(flat) + 1.8, 4.4), layout="constrained")
        panels = figure.subplots(1, len(flat), squeeze=False)[0]
        true = np.array(found.true)[chosen.images]
        wrong = np.array(found.predicted)[chosen.images] != true
        for panel, (name, points) in zip(panels, flat.items(), strict=True):
            for place, label in enumerate(chosen.classes):
                look: dict[str, Any] = {"s": 16, "marker": _marker(place), "linewidths": 0.8, "alpha": 0.85}
                for part, filling in ((~wrong, _colour(place)), (wrong, "none")):
                    x, y = points[(true == label) & part].T
                    panel.scatter(x, y, facecolors=filling, edgecolors=_colour(place), **look)
            panel.set_title(name)
            panel.set_xlabel(axes[name][0])
            panel.set_ylabel(axes[name][1])
            panel.set_xticks([])
            panel.set_yticks([])
        figure.suptitle(title)
        figure.legend(handles=_legend(found, chosen), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def alpha_curve(rows: list[Row], own: float, title: str) -> Figure:
    """Plot accuracy over alpha at test time; ``own`` is the one that the run's own scores amount to."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        panel = figure.subplots()
        points = [row["alpha"] for row in rows], [row["accuracy"] for row in rows]
        panel.plot(*points, color=COLOURS[0], marker="o", ms=4)
        panel.axvline(own, color=COLOURS[3], linestyle="--", label=f"as the run scores: {own:g}")
        panel.set_xlabel("alpha at test time (0: representation feature alone, 1: class feature alone)")
        panel.set_ylabel("accuracy, %")
        panel.set_title(title)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    return figure


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _marker(place: int) -> str:
    return MARKERS[place // len(COLOURS) % len(MARKERS)]


def _legend(found: Observed, chosen: Chosen) -> list[Line2D]:
    common: dict[str, Any] = {"linestyle": "", "markersize": 5}
    classes = [
        Line2D([], [], marker=_marker(place), color=_colour(place), label=short(found.classes[label]), **common)
        for place, label in enumerate(chosen.classes)
    ]
    return [*classes, Line2D([], [], marker="o", color="black", markerfacecolor="none", label="wrong", **common)]


def short(name: str, longest: int = 26) -> str:
    """Return a class's name for a plot, cut where it is long."""
    return name if len(name) <= longest else f"{name[: longest - 3]}..."
