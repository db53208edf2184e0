"""A table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from tabulate import tabulate

from common.text import as_csv
from reporting.stats import DAGGER, OUTSIDE, Cell
from reporting.tables.table import Entry, Table

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    DAGGER: r"$\dagger$",
    OUTSIDE: r"$\ddagger$",
}
WIDE = 8  # columns from which a LaTeX table is shrunk to the page


def pipe(table: Table) -> str:
    """Return the lines of a table alone, in Markdown."""
    align = ["left"] * table.left + ["right"] * (len(table.headers) - table.left)
    rows = [[text.replace("|", r"\|") for text in row] for row in table.texts()]
    return tabulate(rows, headers=table.headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def markdown(table: Table) -> str:
    """Return title, table and notes."""
    notes = "".join(f"\n- {note}" for note in table.footnotes())
    return f"**{table.caption}**\n\n{pipe(table)}\n" + (f"{notes}\n" if notes else "")


def comma_separated(table: Table) -> str:
    """Return unrounded numbers; a cell over seeds is five columns: mean, deviation, n, seeds wanted, marks."""
    cells = [any(isinstance(row[i], Cell) for row in table.rows) for i in range(len(table.headers))]
    heads = chain.from_iterable(map(_heads, table.headers, cells))
    return as_csv([heads, *(chain.from_iterable(map(_parts, row, cells)) for row in table.rows)])


def _heads(header: str, is_cell: bool) -> Iterator[str]:
    yield header
    if is_cell:
        yield from (f"{header} {what}" for what in ("sd", "n", "seeds", "mark"))


def _parts(entry: Entry, is_cell: bool) -> Iterator[str]:
    if isinstance(entry, Cell):
        yield from (_number(entry.center), _number(entry.spread), str(len(entry.values)), str(len(entry.wanted)))
        yield "; ".join([*filter(None, [entry.mark]), *(f"{DAGGER} {line}" for line in entry.cautions)])
        return
    yield _number(entry) if isinstance(entry, float) else entry or ""
    yield from [""] * 4 * is_cell


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def latex(table: Table) -> str:
    """Return a `table` environment in the manner of booktabs; needs that package, and graphicx where it is wide."""
    wide = len(table.headers) > WIDE
    columns = "l" * table.left + "r" * (len(table.headers) - table.left)
    lines = [
        f"% \\usepackage{{booktabs}}{' and graphicx' if wide else ''}",
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{escape(table.caption)}}}",
        f"\\label{{tab:{table.name}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if wide else []),
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escape, table.headers)) + r" \\",
        r"\midrule",
    ]
    before, ranks = None, table.ranks()
    for place, row in enumerate(table.texts()):
        if table.left > 1 and before not in (None, row[0]):
            lines.append(r"\midrule")
        before = row[0]
        cells = [_emphasised(text, ranks.get((place, column), 0)) for column, text in enumerate(row)]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}" + ("%\n}" if wide else "")]
    lines += [f"\\par\\footnotesize {escape(note)}" for note in table.footnotes()]
    return "\n".join([*lines, r"\end{table}", ""])


def _emphasised(text: str, rank: int) -> str:
    """Return an entry with its mean in bold (rank 1: the best) or underlined (2: the second)."""
    if not rank:
        return escape(text)
    mean, space, rest = text.partition(" ")
    return f"\\{('textbf', 'underline')[rank - 1]}{{{escape(mean)}}}{space}{escape(rest)}"


def escape(text: str) -> str:
    """Return text for LaTeX."""
    minus, text = ("$-$", text[1:]) if re.match(r"-\d", text) else ("", text)
    return minus + "".join(_TEX.get(letter, letter) for letter in text)
