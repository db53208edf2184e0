"""Tables with a column for each data set or number of shots: cross-dataset, domain generalisation, few-shot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from reporting.cells import Cell, Cells, average
from reporting.names import AVERAGE, PAPER_DATASETS, dataset_order, is_domain_variant
from reporting.paper import published
from reporting.result import Key, Row
from reporting.table import Entry, Table, gap, slug
from reporting.tables import block_name, datasets_of, difference, groups, reference_of, rows_of


class Line(NamedTuple):
    """A line of a wide table: its leading texts, whose it is, and per column its header, key and cell."""

    lead: list[str]
    row: Row
    columns: list[tuple[str, Key, Cell]]


def wide(
    title: str,
    name: str,
    rows: Sequence[Line],
    labels: list[str],
    to: str,
    paper: Callable[[Key], float | None] | None,
) -> Iterator[Table]:
    """A table with one column per entry of `rows`, and one of paired differences to the method `to`."""
    headers = [*labels, "n", *(column for column, _, _ in rows[0].columns)]
    table: list[list[Entry]] = []
    for lead, _, columns in rows:
        table.append([*lead, _count(cell for _, _, cell in columns), *(cell for _, _, cell in columns)])
        numbers = [paper(key) if paper else None for _, key, _ in columns]
        if any(number is not None for number in numbers):
            gaps = [gap(cell, number) for (_, _, cell), number in zip(columns, numbers, strict=True)]
            table.append([*lead[:-1], f"{lead[-1]}, published", None, *numbers])
            table.append([*lead[:-1], f"{lead[-1]}, gap", None, *gaps])
    whole = Table(name, title, headers, table, len(labels))
    yield whole
    compared = _compared(rows, to)
    if compared:
        headers = [*labels, *headers[len(labels) + 1 :]]
        yield Table(
            f"{name}_difference",
            f"{title}; paired difference to {to}",
            headers,
            compared,
            len(labels),
            whole.footnotes(),
        )


def _count(cells: Iterable[Cell]) -> str:
    """How many seeds a row's cells have: `3`, or `2-3`."""
    counts = {len(cell.values) for cell in cells}
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)}-{max(counts)}"


def _compared(rows: Sequence[Line], to: str) -> list[list[Entry]]:
    """Each line's paired differences to the line of the method `to` in its block."""
    compared: list[list[Entry]] = []
    for lead, row, columns in rows:
        block = {other.row: other for other in rows if other.lead[:-1] == lead[:-1]}
        reference = reference_of(list(block), to)
        if reference not in (None, row):
            theirs = block[reference].columns
            found = [difference(mine[2], other[2]) for mine, other in zip(columns, theirs, strict=True)]
            if any(found):
                compared.append([*lead, *found])
    return compared


def crossed(cells: Cells, keys: Sequence[Key], to: str, paper: bool) -> Iterator[Table]:
    """Cross-dataset evaluation and domain generalisation: the source, each target, the targets' average."""
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
                    yield from _crossed(cells, mine, source, chosen, text, slug(name, source, backbone), to, paper)


def _crossed(
    cells: Cells, keys: Sequence[Key], source: str, targets: list[str], title: str, name: str, to: str, paper: bool
) -> Iterator[Table]:
    rows = []
    for row in rows_of(keys):
        shots = sorted({key.shots for key in keys if key.row == row})
        for count in shots:
            mine = {t: Key("xd", keys[0].backbone, row, source, t, "all", count) for t in (source, *targets)}
            found = {target: cells.get(key) for target, key in mine.items()}
            columns = [(f"{source} (source)", mine[source], found[source])]
            columns += [(target, mine[target], found[target]) for target in targets]
            if len(targets) > 1:
                whole = average([found[target] for target in targets])
                all_there = set(targets) == set(PAPER_DATASETS) - {source}
                key = mine[source]._replace(dataset=AVERAGE if all_there else "some")
                columns.append((f"average of {len(targets)}", key, whole))
            lead = [row.label + (f", {count} shots" if count != 16 or len(shots) > 1 else "")]
            rows.append(Line(lead, row, columns))
    yield from wide(title, name, rows, ["Method"], to, published if paper else None)


def few_shot(cells: Cells, keys: Sequence[Key], to: str, paper: bool) -> Iterator[Table]:
    """Few-shot: accuracy on all classes by data set, method and number of shots."""
    for backbone, some in groups(keys, "fewshot"):
        names, shots = datasets_of(some), sorted({key.shots for key in some})
        rows = []
        for name, block in few_shot_cells(cells, some, names, shots).items():
            for row, by_shots in block.items():
                columns = [
                    (f"{count} shot{'s' * (count != 1)}", Key("fewshot", backbone, row, name, name, "all", count), cell)
                    for count, cell in by_shots.items()
                ]
                rows.append(Line([block_name(name, names), row.label], row, columns))
        comparable = set(names) == set(PAPER_DATASETS)

        def number(key: Key, comparable: bool = comparable) -> float | None:
            return published(key) if key.dataset != AVERAGE or comparable else None

        title = f"Few-shot, {backbone}: accuracy in percent on all classes"
        name = slug("few_shot", backbone)
        yield from wide(title, name, rows, ["Data set", "Method"], to, number if paper else None)


def few_shot_cells(
    cells: Cells, keys: Sequence[Key], names: Sequence[str], shots: Sequence[int]
) -> dict[str, dict[Row, dict[int, Cell]]]:
    """Cells by data set (the average first, where there are several), row and shots."""
    backbone = keys[0].backbone
    per: dict[str, dict[Row, dict[int, Cell]]] = {
        name: {
            row: {count: cells.get(Key("fewshot", backbone, row, name, name, "all", count)) for count in shots}
            for row in rows_of(keys)
        }
        for name in names
    }
    if len(names) < 2:
        return per
    whole = {
        row: {count: average([per[name][row][count] for name in names]) for count in shots} for row in rows_of(keys)
    }
    return {AVERAGE: whole, **per}
