"""What a table is: headers, entries and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reporting.stats import DAGGER, Cell
from runs.protocols import SHOTS

Entry = str | float | Cell | None  # None: nothing to say


@dataclass
class Table:
    """A table, before it is written in some format.

    Attributes:
        name: of its file, such as `base_to_new`.
        title: what it shows, with everything that holds for all of it.
        left: how many columns from the left hold text.
        notes: lines below it.
        decimals: by column header; others have two.
    """

    name: str
    title: str
    headers: list[str]
    rows: list[list[Entry]]
    left: int = 1
    notes: list[str] = field(default_factory=list)
    decimals: dict[str, int] = field(default_factory=dict)

    def texts(self) -> list[list[str]]:
        """Return all entries as readers see them."""
        digits = [self.decimals.get(header, 2) for header in self.headers]
        return [[text(entry, count) for entry, count in zip(row, digits, strict=True)] for row in self.rows]

    def footnotes(self) -> list[str]:
        """Return the lines below it: its notes, and why marked numbers mean little, once each."""
        cells = (entry for row in self.rows for entry in row if isinstance(entry, Cell) and entry.center is not None)
        said = dict.fromkeys(f"{DAGGER} {line}" for cell in cells for line in cell.cautions)
        return [*self.notes, *said]


def text(entry: Entry, decimals: int = 2) -> str:
    """Return an entry as readers see it."""
    if entry is None:
        return ""
    if isinstance(entry, Cell):
        return entry.text(decimals)
    return f"{entry:.{decimals}f}" if isinstance(entry, float) else entry


def slug(*words: str) -> str:
    """Return a file name made of words."""
    text = "_".join(word for word in words if word).lower()
    return "".join(letter if letter.isalnum() else "_" for letter in text)


def of_shots(shots: int) -> str:
    """Return what a file name says of the number of shots: nothing of the usual one."""
    return "" if shots == SHOTS else f"{shots}_shots"


def number(entry: Entry) -> float | None:
    """Return what an entry sorts by; None for text."""
    return entry.center if isinstance(entry, Cell) else entry if isinstance(entry, float) else None


def gap(cell: Cell, paper: float | None) -> str | None:
    """Return our number less the published one; marked where ours is incomplete."""
    if paper is None or cell.center is None:
        return None
    return f"{cell.center - paper:+.2f}{'' if cell.complete else ' !'}"


def drop_empty(headers: list[str], rows: Sequence[list[Entry]], keep: int) -> tuple[list[str], list[list[Entry]]]:
    """Leave out columns behind the first `keep` that say nothing in any row."""
    some = [i for i in range(len(headers)) if i < keep or any(row[i] not in (None, "") for row in rows)]
    return [headers[i] for i in some], [[row[i] for i in some] for row in rows]
