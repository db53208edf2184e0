"""Tables of ablations: one for each swept setting, and one for rows that change several settings at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reporting.cells import Cells
from reporting.names import AVERAGE
from reporting.paper import published_ablation
from reporting.result import Key, Row
from reporting.sweeps import Sweep, Triple, combinations, mean_of, sweeps, triple
from reporting.table import Entry, Table, drop_empty, gap, slug
from reporting.tables import block_name, datasets_of, difference, rows_of

PARTS = ("base", "new", "hm")


def ablations(cells: Cells, keys: Sequence[Key], paper: bool) -> Iterator[Table]:
    """The tables of all sweeps, each with paired differences of HM to the method's default."""
    for sweep in sweeps(cells, keys):
        yield _table(cells, sweep, paper)
    for some in combinations(keys):
        yield _combinations(cells, some)


def blocks(sweep: Sweep) -> list[str]:
    """The data sets of a sweep, behind their average where there are several."""
    return [AVERAGE, *sweep.datasets] if len(sweep.datasets) > 1 else list(sweep.datasets)


def block_of(cells: Cells, sweep: Sweep, name: str) -> Callable[[str], Triple]:
    """Base, new, HM by value, on a data set or their average."""
    return (lambda value: sweep.mean(cells, value)) if name == AVERAGE else (lambda v: sweep.triple(cells, v, name))


def default_of(cells: Cells, sweep: Sweep, name: str) -> Triple:
    """Base, new, HM of the method's default on a data set or their average."""
    names = sweep.datasets if name == AVERAGE else [name]
    some = [triple(cells, sweep.default_key(one)) for one in names]
    return mean_of(some) if name == AVERAGE else some[0]


def default_values(sweep: Sweep, name: str) -> set[str]:
    """The default's value on a data set; all of them for the average."""
    return set(sweep.defaults.values()) if name == AVERAGE else {sweep.defaults.get(name, "")}


def _table(cells: Cells, sweep: Sweep, paper: bool) -> Table:
    headers = ["Data set", sweep.short, "n", "Base", "New", "HM", "HM - default"]
    headers += [f"{what} {part}" for what in ("Published", "Gap") for part in ("base", "new", "HM")] if paper else []
    lines: list[list[Entry]] = []
    for name in blocks(sweep):
        at, default, own = block_of(cells, sweep, name), default_of(cells, sweep, name), default_values(sweep, name)
        for value in () if name in sweep.own else sweep.values:
            cell = at(value)
            is_default = own == {value}
            versus = None if is_default else difference(cell[2], default[2])
            shown = f"{value} (default)" if is_default else value
            lines.append([block_name(name, sweep.datasets), shown, str(len(cell[2].values)), *cell, versus])
            if paper:
                found = published_ablation(sweep, value, name)
                numbers = [found.get(part) for part in PARTS]
                lines[-1] += [*numbers, *map(gap, cell, numbers)]
    headers, lines = drop_empty(headers, lines, keep=6)
    what = f"{sweep.method}: {sweep.setting}, base to new, {sweep.shots} shots, {sweep.backbone}: accuracy in percent"
    notes = [f"{name} keeps its default value in every row." for name in sweep.own]
    return Table(_name(sweep.method, sweep.short, sweep.backbone, sweep.shots), what, headers, lines, 2, notes)


def _name(method: str, what: str, backbone: str, shots: int) -> str:
    return slug("ablation", method, what, backbone, "" if shots == 16 else f"{shots}_shots")


def _combinations(cells: Cells, keys: Sequence[Key]) -> Table:
    first, names = keys[0], datasets_of(keys)
    lines: list[list[Entry]] = []
    for name in names:
        here = first._replace(source=name, dataset=name, part="base")
        default = triple(cells, here._replace(row=Row(first.row.method)))
        for row in rows_of(keys):
            cell = triple(cells, here._replace(row=row))
            versus = difference(cell[2], default[2])
            lines.append([name, row.variant.lstrip("+"), str(len(cell[2].values)), *cell, versus])
    headers, lines = drop_empty(["Data set", "Settings", "n", "Base", "New", "HM", "HM - default"], lines, keep=6)
    what = f"{first.row.method}: several settings, base to new, {first.shots} shots, {first.backbone}"
    return Table(
        _name(first.row.method, "several", first.backbone, first.shots),
        f"{what}: accuracy in percent",
        headers,
        lines,
        2,
    )
