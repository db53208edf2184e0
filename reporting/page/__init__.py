"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from reporting.plots.style import Plot, image
from reporting.report import Report, Section
from reporting.stats import Cell
from reporting.tables.table import Entry, Table, number, text

UNFINISHED = "Failed or unfinished runs"
STYLE, SORT = (Path(__file__).with_name(name) for name in ("style.css", "sort.js"))
_NUMBER = re.compile(r"^[+-]?\d+(\.\d+)?")


def page(report: Report) -> str:
    """Return the page: no file and no address outside it is loaded."""
    return document(
        report.title,
        STYLE.read_text(encoding="utf-8"),
        [
            *(f'<p class="soft">{escape(line)}</p>' for line in report.about),
            '<p class="soft">Bold: the best of its column and data set; underlined: the second. Ties at the shown '
            "digits share, and numbers with ! are not marked.</p>",
            *_problems(report),
            *_contents(report),
            *(part for section in report.sections for part in _section(section)),
            *_missing(report),
            *_notes(report),
            f"<script>\n{SORT.read_text(encoding='utf-8')}</script>",
        ],
    )


def document(title: str, style: str, body: Iterable[str]) -> str:
    """Return an HTML document whose heading is its title, with a style of its own."""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z]+", "-", heading.lower())


def _contents(report: Report) -> Iterator[str]:
    headings = [section.heading for section in report.sections]
    headings += [UNFINISHED] * bool(report.unfinished) + ["Missing"] * bool(report.missing) + ["Notes"]
    links = (f'<a href="#{_anchor(heading)}">{escape(heading)}</a>' for heading in headings)
    yield f"<nav>{''.join(links)}</nav>"


def _problems(report: Report) -> Iterator[str]:
    if report.problems:
        items = "".join(f"<li>{escape(line)}</li>" for line in report.problems)
        yield f'<div class="problems"><strong>Refused or damaged: {len(report.problems)}</strong><ul>{items}</ul></div>'


def _section(section: Section) -> Iterator[str]:
    yield f'<section>\n<h2 id="{_anchor(section.heading)}">{escape(section.heading)}</h2>'
    shown = [plot for plot in section.plots if plot.on_page]
    tables = "\n".join(_table(table) for table in section.tables)
    yield f"<details><summary>Show the table</summary>{tables}</details>" if section.folded else tables
    if shown:
        yield f'<div class="plots">{"".join(map(figure, shown))}</div>'
    yield "</section>"


def figure(plot: Plot) -> str:
    """Return a plot as HTML, the SVG within it; its title is caption and text in place of the image."""
    data = base64.b64encode(image(plot.figure, "svg")).decode()
    title = escape(plot.title)
    return (
        f'<figure><img alt="{title}" src="data:image/svg+xml;base64,{data}"><figcaption>{title}</figcaption></figure>'
    )


def _table(table: Table) -> str:
    # Not <button>: Chromium leaves those out where it repeats a table's head on a printed page.
    heads = "".join(
        f'<th scope="col" class="{"text" if i < table.left else ""}" aria-sort="none">'
        f'<span role="button" tabindex="0">{escape(header)}</span></th>'
        for i, header in enumerate(table.headers)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.footnotes())
    return (
        f'<h3 id="{table.name}">{escape(table.caption)}</h3>\n<div class="scroll" tabindex="0">'
        f'<table class="sortable {"one" if table.left == 1 else "two"}"><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{''.join(_rows(table))}</tbody></table></div>"
    ) + (f'<ul class="notes">{notes}</ul>' if notes else "")


def _rows(table: Table) -> Iterator[str]:
    digits = [table.decimals.get(header, 2) for header in table.headers]
    before, ranks = None, table.ranks()
    for place, row in enumerate(table.rows):
        block = ' class="block"' if table.left > 1 and before not in (None, row[0]) else ""
        before = row[0]
        cells = (_cell(entry, digits[i], i < table.left, ranks.get((place, i), 0)) for i, entry in enumerate(row))
        yield f"<tr{block}>{''.join(cells)}</tr>\n"


def _cell(entry: Entry, decimals: int, is_text: bool, rank: int) -> str:
    shown = text(entry, decimals)
    kind = "text" if is_text else ""
    if isinstance(entry, Cell) and (entry.mark or entry.cautions):
        kind = "wrong" if entry.refused else "mark"
    value = number(entry)
    if value is None and not is_text and (match := _NUMBER.match(shown)):
        value = float(match[0])
    sort = "" if value is None else f' data-v="{value:.10g}"'
    seeds = ""
    if isinstance(entry, Cell) and entry.values:
        seeds = "; ".join(f"seed {seed}: {one:.{decimals}f}" for seed, one in entry.values.items())
        seeds = f' title="{seeds}"'
    style = f' class="{kind}"' if kind else ""
    if rank:
        mean, space, rest = shown.partition(" ")
        tag = "strong" if rank == 1 else "u"
        return f"<td{style}{sort}{seeds}><{tag}>{mean}</{tag}>{space}{escape(rest)}</td>"
    return f"<td{style}{sort}{seeds}>{escape(shown)}</td>"


def _missing(report: Report) -> Iterator[str]:
    if report.unfinished:
        items = "".join(f"<li>{escape(line)}</li>" for line in report.unfinished)
        yield f'<section><h2 id="{_anchor(UNFINISHED)}">{UNFINISHED}</h2><ul>{items}</ul></section>'
    if report.missing:
        yield '<section><h2 id="missing">Missing</h2>'
        for runs in report.missing:
            yield f"<p>{escape(runs.text())}</p><pre>{escape(runs.command())}</pre>"
        yield "</section>"


def _notes(report: Report) -> Iterator[str]:
    items = "".join(f"<li>{escape(line)}</li>" for line in report.notes)
    yield f'<section><h2 id="notes">Notes</h2><ul>{items}</ul></section>'
