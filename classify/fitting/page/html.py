"""Tables, bars and figures of the page. Cells are HTML already: what comes from outside goes through `escape` first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

from reporting.page import figure
from reporting.plots.style import Plot

SHOWN_ROWS = 20  # of a long table; the others are unfolded


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], caption: str, kind: str = "") -> str:
    """Return a table whose first column names its rows; rows beyond `SHOWN_ROWS` are in a part that unfolds."""
    shown = _table(headers, rows[:SHOWN_ROWS], caption, kind)
    rest = rows[SHOWN_ROWS:]
    return shown + (
        fold(f"Show {len(rest)} more", _table(headers, rest, f"{caption}, continued", kind)) if rest else ""
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], caption: str, kind: str) -> str:
    heads = "".join(f'<th scope="col">{header}</th>' for header in headers)
    lines = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return scrolling(heads, lines, caption, kind)


def scrolling(heads: str, lines: str, caption: str, kind: str = "") -> str:
    """Return a table of the cells of its head and of whole rows, which scrolls sideways where it is too wide."""
    said = escape(caption)
    return (
        f'<p class="caption" aria-hidden="true">{said}</p>\n<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{said}"><table class="one {kind}" aria-label="{said}">'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def fold(title: str, text: str) -> str:
    """Return a part of the page that is unfolded by its title."""
    return f"<details><summary>{escape(title)}</summary>{text}</details>"


def bar(low: float, high: float, mark: float, kind: str = "") -> str:
    """Return a track from 0 to 100 that is filled from `low` to `high`, with a mark across it.

    A screen reader passes over it: its numbers are in the table's other columns.
    """
    return (
        f'<span class="bar {kind}" aria-hidden="true"><i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<i class="mark" style="left:{mark:.1f}%"></i></span>'
    )


def plot(title: str, drawn: Figure) -> str:
    """Return a figure as HTML, on the page's own background: in the dark, `fit.css` turns its ink light."""
    drawn.set_facecolor("none")
    for axes in drawn.axes:
        axes.set_facecolor("none")
    return figure(Plot("", title, drawn))


def number(value: float | None, decimals: int = 1) -> str:
    """Return a number as text; None is a dash."""
    return "-" if value is None else f"{value:.{decimals}f}"


def paragraph(text: str, kind: str = "") -> str:
    """Return text from outside as a paragraph, escaped."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>" if text else ""
