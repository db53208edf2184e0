"""Tables with a column for each data set or number of shots: cross-dataset, domain generalisation, few-shot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.names import AVERAGE, PAPER_DATASETS, block_name, dataset_order, is_domain_variant, with_average
from reporting.paper import published
from reporting.stats import Cell, average, difference
from reporting.tables.base_to_new import datasets_of, groups, reference_of, rows_of
from reporting.tables.table import Entry, Table, count_in_a_note, gap, slug
from runs.protocols import SHOTS

Published = Callable[[Key], float | None]


class Line(NamedTuple):
    """A line of a wide table: its leading texts, its row, and by column header the key and cell."""

    lead: list[str]
    row: Row
    columns: Mapping[str, tuple[Key, Cell]]


def wide(
    title: str, name: str, lines: Sequence[Line], labels: list[str], to: str, paper: Published | None
) -> Iterator[Table]:
    """Yield a table with a line for each of `lines`, and one of paired differences to the method `to`."""
    headers = list(lines[0].columns)
    table: list[list[Entry]] = []
    for line in lines:
        cells = [cell for _, cell in line.columns.values()]
        table.append([*line.lead, _count(cells), *cells])
        numbers = [paper(key) if paper else None for key, _ in line.columns.values()]
        if any(number is not None for number in numbers):
            *block, last = line.lead
            table.append([*block, f"{last}, published", None, *numbers])
            table.append([*block, f"{last}, gap", None, *map(gap, cells, numbers)])
    whole = Table(name, title, [*labels, "n", *headers], table, len(labels))
    yield count_in_a_note(whole)
    if compared := _compared(lines, to):
        what = f"{title}; paired difference to {to}"
        yield Table(f"{name}_difference", what, [*labels, *headers], compared, len(labels), whole.footnotes())


def _count(cells: Sequence[Cell]) -> str:
    """Return how many seeds a line's cells have: `3`, or `2-3`."""
    counts = sorted(len(cell.values) for cell in cells)
    return "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _compared(lines: Sequence[Line], to: str) -> list[list[Entry]]:
    """Return each line's paired differences to the line of the method `to` in its block."""
    compared: list[list[Entry]] = []
    for line in lines:
        block = {other.row: other for other in lines if other.lead[:-1] == line.lead[:-1]}
        reference = reference_of(list(block), to)
        if reference not in (None, line.row):
            theirs = block[reference].columns.values()
            found = [difference(a, b) for (_, a), (_, b) in zip(line.columns.values(), theirs, strict=True)]
            if any(found):
                compared.append([*line.lead, *found])
    return compared


def crossed(cells: Cells, keys: Sequence[Key], to: str, paper: bool) -> Iterator[Table]:
    """Yield cross-dataset evaluation and domain generalisation: the source, each target, the targets' average."""
    for backbone, some in groups(keys, "xd"):
        for source in sorted({key.source for key in some}, key=dataset_order):
            mine = [key for key in some if key.source == source]
            targets = [name for name in datasets_of(mine) if name != source]
            variants = [name for name in targets if is_domain_variant(name, source)]
            others = [name for name in targets if name not in variants]
            for title, name, chosen in (
                ("Cross-dataset", "cross_dataset", others),
                ("Domain generalisation", "domain_generalisation", variants),
            ):
                if chosen or (not targets and name == "cross_dataset"):
                    text = f"{title}, trained on {source}, {backbone}: accuracy in percent"
                    lines = list(_crossed(cells, mine, source, chosen))
                    numbers = published if paper else None
                    yield from wide(text, slug(name, source, backbone), lines, ["Method"], to, numbers)


def _crossed(cells: Cells, keys: Sequence[Key], source: str, targets: list[str]) -> Iterator[Line]:
    for row in rows_of(keys):
        shots = sorted({key.shots for key in keys if key.row == row})
        for count in shots:
            mine = {t: keys[0]._replace(row=row, source=source, dataset=t, shots=count) for t in (source, *targets)}
            found = {target: cells.get(key) for target, key in mine.items()}
            columns = {f"{source} (source)": (mine[source], found[source])}
            columns |= {target: (mine[target], found[target]) for target in targets}
            if len(targets) > 1:
                all_there = set(targets) == set(PAPER_DATASETS) - {source}
                key = mine[source]._replace(dataset=AVERAGE if all_there else "some")
                columns[f"average of {len(targets)}"] = key, average([found[target] for target in targets])
            lead = [row.label + (f", {count} shots" if count != SHOTS or len(shots) > 1 else "")]
            yield Line(lead, row, columns)


def few_shot(cells: Cells, keys: Sequence[Key], to: str, paper: bool) -> Iterator[Table]:
    """Yield accuracy on all classes by data set, method and number of shots."""
    for backbone, some in groups(keys, "fewshot"):
        names = datasets_of(some)
        lines = []
        for name, block in few_shot_cells(cells, some).items():
            for row, by_shots in block.items():
                key = some[0]._replace(row=row, source=name, dataset=name)
                columns = {
                    f"{count} shot{'s' * (count != 1)}": (key._replace(shots=count), cell)
                    for count, cell in by_shots.items()
                }
                lines.append(Line([block_name(name, names), row.label], row, columns))
        comparable = set(names) == set(PAPER_DATASETS)

        def number(key: Key, comparable: bool = comparable) -> float | None:
            return published(key) if key.dataset != AVERAGE or comparable else None

        title = f"Few-shot, {backbone}: accuracy in percent on all classes"
        yield from wide(title, slug("few_shot", backbone), lines, ["Data set", "Method"], to, number if paper else None)


def few_shot_cells(cells: Cells, keys: Sequence[Key]) -> dict[str, dict[Row, dict[int, Cell]]]:
    """Return cells of one backbone by data set (the average first, where there are several), row and shots."""
    names, rows, shots = datasets_of(keys), rows_of(keys), sorted({key.shots for key in keys})

    def cell(name: str, row: Row, count: int) -> Cell:
        if name == AVERAGE:
            return average([cell(one, row, count) for one in names])
        return cells.get(keys[0]._replace(row=row, source=name, dataset=name, shots=count))

    return {
        name: {row: {count: cell(name, row, count) for count in shots} for row in rows} for name in with_average(names)
    }
