"""What a table is: headers, entries and notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

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
        lower: headers of the columns where less is better, such as a cost.
        names: the column that names what is compared; rows compete where their other columns of text are equal. None:
            the last column of text.
    """

    name: str
    title: str
    headers: list[str]
    rows: list[list[Entry]]
    left: int = 1
    notes: list[str] = field(default_factory=list)
    decimals: dict[str, int] = field(default_factory=dict)
    lower: Collection[str] = ()
    names: int | None = None

    @property
    def caption(self) -> str:
        """The title, and what each ± of the table is."""
        numbers = [entry for row in self.rows for entry in row[self.left :]]
        has_spread = any(isinstance(entry, Cell) and " ± " in entry.text() for entry in numbers)
        has_interval = any(isinstance(entry, str) and " ± " in entry for entry in numbers)
        named = ["± standard deviation over seeds"] * has_spread
        named += ["differences ± 95 % confidence interval"] * has_interval
        return self.title + (f" ({'; '.join(named)})" if named else "")

    def ranks(self) -> dict[tuple[int, int], int]:
        """Return the places (row, column) of the best (1) and second best (2) results over seeds.

        They are those of their column and data set; ties at the shown digits share. A number that lacks seeds or data
        sets takes its place among the others, but is no result to be marked.
        """
        names = self.left - 1 if self.names is None else self.names
        blocks: dict[tuple[Entry, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            blocks[tuple(row[:names] + row[names + 1 : self.left])].append(place)
        found: dict[tuple[int, int], int] = {}
        for rows in blocks.values():
            for column, header in enumerate(self.headers):
                cells = {place: cell for place in rows if isinstance(cell := self.rows[place][column], Cell)}
                digits = self.decimals.get(header, 2)
                shown = {place: round(cell.center, digits) for place, cell in cells.items() if cell.center is not None}
                best = sorted(set(shown.values()), reverse=header not in self.lower)[:2]
                for place, value in shown.items() if len(shown) > 1 else ():
                    if value in best and cells[place].complete:
                        found[place, column] = best.index(value) + 1
        return found

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


def count_in_a_note(table: Table) -> Table:
    """Return a table whose column n is a note instead, where it is the same number in each row that has one."""
    column = table.headers.index("n")
    counts = {row[column] for row in table.rows} - {None}
    count = str(counts.pop()) if len(counts) == 1 else "0"
    if not count.isdecimal() or count == "0":
        return table
    headers = table.headers[:column] + table.headers[column + 1 :]
    rows = [row[:column] + row[column + 1 :] for row in table.rows]
    note = f"n = {count} seed{'s' * (count != '1')} in every row."
    return replace(table, headers=headers, rows=rows, notes=[note, *table.notes])


def drop_empty(headers: list[str], rows: Sequence[list[Entry]], keep: int) -> tuple[list[str], list[list[Entry]]]:
    """Leave out columns behind the first `keep` that say nothing in any row."""
    some = [i for i in range(len(headers)) if i < keep or any(row[i] not in (None, "") for row in rows)]
    return [headers[i] for i in some], [[row[i] for i in some] for row in rows]
