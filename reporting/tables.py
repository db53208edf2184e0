"""The base-to-new table from checked cells, and what all tables share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reporting.cells import Cell, Cells
from reporting.names import AVERAGE, PAPER_DATASETS, dataset_order, method_order
from reporting.paper import published
from reporting.result import Key, Row
from reporting.sweeps import Triple, is_ablation, mean_of, triple
from reporting.table import Entry, Table, drop_empty, gap, slug
from runs.compare import paired_difference
from runs.likeness import DAGGER


def groups(keys: Sequence[Key], protocol: str) -> Iterator[tuple[str, list[Key]]]:
    """Keys of a protocol by backbone: results of different backbones stand in no common table."""
    chosen = [key for key in keys if key.protocol == protocol]
    for backbone in dict.fromkeys(sorted(key.backbone for key in chosen)):
        yield backbone, [key for key in chosen if key.backbone == backbone]


def rows_of(keys: Sequence[Key]) -> list[Row]:
    """The rows of a table in reading order."""
    return sorted({key.row for key in keys}, key=lambda row: (method_order(row.method), row.variant, row.foreign))


def datasets_of(keys: Sequence[Key]) -> list[str]:
    """The data sets of a table in reading order."""
    return sorted({key.dataset for key in keys}, key=dataset_order)


def reference_of(rows: Sequence[Row], to: str) -> Row | None:
    """The row that others are compared to: the method's default, or the only one that it has."""
    some = [row for row in rows if row.method == to]
    return Row(to) if Row(to) in some else some[0] if len(some) == 1 else None


def difference(ours: Cell, theirs: Cell) -> str | None:
    """Mean paired difference over common seeds with its 95 % interval."""
    mean, half, common = paired_difference(dict(ours.values), dict(theirs.values))
    if ours.center is None or theirs.center is None or not common:
        return None
    interval = "" if math.isnan(half) else f" ± {half:.2f}"
    dagger = f" {DAGGER}" if ours.cautions or theirs.cautions else ""
    return f"{mean:+.2f}{interval}{dagger}" + (f" (n = {common}!)" if common < len(ours.wanted) else "")


def base_to_new(cells: Cells, keys: Sequence[Key], to: str, paper: bool) -> Iterator[Table]:
    """Base, new and HM per data set and on average, with the paired difference of HM to the method `to`."""
    for backbone, some in groups(keys, "base2new"):
        some = [key for key in some if not is_ablation(key)]
        rows, names = rows_of(some), datasets_of(some)
        for shots in sorted({key.shots for key in some}):
            blocks = base_to_new_cells(cells, some, rows, names, shots)
            yield _base_to_new(blocks, backbone, shots, to, paper, cells.seeds)


def base_to_new_cells(
    cells: Cells, keys: Sequence[Key], rows: Sequence[Row], names: Sequence[str], shots: int
) -> dict[str, dict[Row, tuple[Key, Triple]]]:
    """Base, new, HM by data set (the average first, where there are several) and row; the HM is that of the means."""
    backbone = keys[0].backbone
    per: dict[str, dict[Row, tuple[Key, Triple]]] = {}
    for name in names:
        per[name] = {}
        for row in rows:
            key = Key("base2new", backbone, row, name, name, "base", shots)
            per[name][row] = key, triple(cells, key)
    if len(names) < 2:
        return per
    whole: dict[Row, tuple[Key, Triple]] = {}
    for row in rows:
        key = Key("base2new", backbone, row, AVERAGE, AVERAGE, "base", shots)
        whole[row] = key, mean_of([per[name][row][1] for name in names])
    return {AVERAGE: whole, **per}


def _base_to_new(
    blocks: dict[str, dict[Row, tuple[Key, Triple]]],
    backbone: str,
    shots: int,
    to: str,
    paper: bool,
    seeds: tuple[int, ...],
) -> Table:
    names = [name for name in blocks if name != AVERAGE]
    headers = ["Data set", "Method", "n", "Base", "New", "HM", f"HM - {to}"]
    if paper:
        headers += [f"Published {part}" for part in ("base", "new", "HM")] + [f"Gap {p}" for p in ("base", "new", "HM")]
    table: list[list[Entry]] = []
    for name, block in blocks.items():
        reference = reference_of(list(block), to)
        for row, (key, cell) in block.items():
            versus = difference(cell[2], block[reference][1][2]) if reference not in (None, row) else None
            line: list[Entry] = [block_name(name, names), row.label, str(len(cell[2].values)), *cell, versus]
            if paper:
                comparable = name != AVERAGE or set(names) == set(PAPER_DATASETS)
                numbers = [published(key, part) if comparable else None for part in ("base", "new", "hm")]
                line += [*numbers, *map(gap, cell, numbers)]
            table.append(line)
    headers, table = drop_empty(headers, table, keep=6)
    title = f"Base to new, {shots} shots, {backbone}: accuracy in percent"
    return Table(slug("base_to_new", backbone, "" if shots == 16 else f"{shots}_shots"), title, headers, table, 2)


def block_name(name: str, names: Sequence[str]) -> str:
    """What a block of rows is called."""
    return f"average of {len(names)}" if name == AVERAGE else name
