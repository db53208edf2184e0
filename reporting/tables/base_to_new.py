"""The base-to-new table from checked cells, and what it shares with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.names import AVERAGE, PAPER_DATASETS, block_name, dataset_order, with_average
from reporting.paper import published, remarks, rerun_range
from reporting.stats import PARTS, Cell, Triple, average_triple, difference
from reporting.sweeps import is_ablation, triple
from reporting.tables.table import Entry, Table, count_in_a_note, drop_empty, gap, of_shots, slug

NO_NUMBERS: Mapping[str, float | None] = {}


def groups(keys: Sequence[Key], protocol: str) -> Iterator[tuple[str, list[Key]]]:
    """Yield the keys of a protocol by backbone: results of different backbones stand in no common table."""
    chosen = [key for key in keys if key.protocol == protocol]
    for backbone in sorted({key.backbone for key in chosen}):
        yield backbone, [key for key in chosen if key.backbone == backbone]


def rows_of(keys: Sequence[Key]) -> list[Row]:
    """Return the rows of a table, in the order of its keys."""
    return list(dict.fromkeys(key.row for key in keys))


def datasets_of(keys: Sequence[Key]) -> list[str]:
    """Return the data sets of a table in reading order."""
    return sorted({key.dataset for key in keys}, key=dataset_order)


def reference_of(rows: Sequence[Row], to: str) -> Row | None:
    """Return the row that others are compared to: the method's default, or the only one that it has."""
    some = [row for row in rows if row.method == to]
    return Row(to) if Row(to) in some else some[0] if len(some) == 1 else None


class Block(NamedTuple):
    """Base, new and HM on one data set, or on the average over `names`, by row."""

    name: str
    names: list[str]
    shots: int
    rows: dict[Row, Triple]


def blocks_of(cells: Cells, keys: Sequence[Key]) -> Iterator[list[Block]]:
    """Yield the blocks of each base-to-new table of one backbone, by number of shots; the average comes first."""
    some = [key for key in keys if not is_ablation(key)]
    rows, names = rows_of(some), datasets_of(some)
    for shots in sorted({key.shots for key in some}):
        key = some[0]._replace(part="base", shots=shots)
        found = {
            name: {row: triple(cells, key._replace(row=row, source=name, dataset=name)) for row in rows}
            for name in names
        }
        found[AVERAGE] = {row: average_triple([found[name][row] for name in names]) for row in rows}
        yield [Block(name, names, shots, found[name]) for name in with_average(names)]


def base_to_new(cells: Cells, keys: Sequence[Key], to: str, paper: bool) -> Iterator[Table]:
    """Yield base, new and HM per data set and on average, with the paired difference of HM to the method `to`."""
    for backbone, some in groups(keys, "base2new"):
        for blocks in blocks_of(cells, some):
            shots = blocks[0].shots
            lines = [line for block in blocks for line in _lines(block, backbone, to)]
            title = f"Base to new, {shots} shots, {backbone}: accuracy in percent"
            name = slug("base_to_new", backbone, of_shots(shots))
            places = [_place(backbone, block, row) for block in blocks if _comparable(block) for row in block.rows]
            notes = remarks(places) if paper else []
            yield triple_table(name, title, ["Data set", "Method"], f"HM - {to}", lines, paper, notes)


class Line(NamedTuple):
    """A line of a table of base, new and HM: its two texts, what it is compared to, and the published numbers."""

    block: str
    label: str
    cell: Triple
    versus: Cell | None = None
    published: Mapping[str, float | None] = NO_NUMBERS  # by part, as far as there are any
    reruns: Mapping[str, str | None] = {}


def _comparable(block: Block) -> bool:
    """Return whether published numbers may stand beside a block: an average is of the paper's data sets."""
    return block.name != AVERAGE or set(block.names) == set(PAPER_DATASETS)


def _place(backbone: str, block: Block, row: Row) -> Key:
    return Key("base2new", backbone, row, block.name, block.name, "base", block.shots)


def _lines(block: Block, backbone: str, to: str) -> Iterator[Line]:
    reference = reference_of(list(block.rows), to)
    parts = PARTS if _comparable(block) else ()
    for row, cell in block.rows.items():
        versus = block.rows[reference].hm if reference not in (None, row) else None
        key = _place(backbone, block, row)
        numbers = {part: published(key, part) for part in parts}
        others = {part: rerun_range(key, part) for part in parts}
        yield Line(block_name(block.name, block.names), row.label, cell, versus, numbers, others)


def triple_table(
    name: str,
    title: str,
    labels: list[str],
    versus: str,
    lines: Sequence[Line],
    paper: bool = False,
    notes: Sequence[str] = (),
) -> Table:
    """Return a table of base, new and HM, with a column `versus` of differences, beside the paper's if asked for."""
    headers = [*labels, "n", "Base", "New", "HM", versus]
    beside = ("Published", "Gap", "Re-runs") if paper else ()
    headers += [f"{what} {part}" for what in beside for part in ("base", "new", "HM")]
    rows: list[list[Entry]] = []
    for line in lines:
        compared = difference(line.cell.hm, line.versus) if line.versus else None
        row: list[Entry] = [line.block, line.label, str(len(line.cell.hm.values)), *line.cell, compared]
        numbers = [line.published.get(part) for part in PARTS]
        others = [line.reruns.get(part) for part in PARTS]
        rows.append(row + ([*numbers, *map(gap, line.cell, numbers), *others] if paper else []))
    headers, rows = drop_empty(headers, rows, keep=6)
    return count_in_a_note(Table(name, title, headers, rows, 2, list(notes)))
