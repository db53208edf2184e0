"""Tables of ablations: one for each swept setting, and one for rows that change several settings at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reporting.cells import Cells
from reporting.load.result import Key, Row
from reporting.names import block_name, with_average
from reporting.paper import published_ablation
from reporting.sweeps import Sweep, combinations, sweeps, triple
from reporting.tables.base_to_new import Line, datasets_of, rows_of, triple_table
from reporting.tables.table import Table, of_shots, slug

VERSUS = "HM - default"


def ablations(cells: Cells, keys: Sequence[Key], paper: bool) -> Iterator[Table]:
    """Yield the tables of all sweeps, each with paired differences of HM to the method's default."""
    for sweep in sweeps(cells, keys):
        yield _swept(cells, sweep, paper)
    for some in combinations(keys):
        yield _combined(cells, some)


def _swept(cells: Cells, sweep: Sweep, paper: bool) -> Table:
    lines = []
    for name in with_average(sweep.datasets):
        default = sweep.triple(cells, None, name).hm
        for value in () if name in sweep.own else sweep.values:
            is_default = sweep.is_default(value, name)
            label = f"{value} (default)" if is_default else value
            numbers = published_ablation(sweep, value, name)
            versus = None if is_default else default
            lines.append(
                Line(block_name(name, sweep.datasets), label, sweep.triple(cells, value, name), versus, numbers)
            )
    what = f"{sweep.method}: {sweep.setting}, base to new, {sweep.shots} shots, {sweep.backbone}: accuracy in percent"
    notes = [f"{name} keeps its default value in every row." for name in sweep.own]
    name = _name(sweep.method, sweep.short, sweep.backbone, sweep.shots)
    return triple_table(name, what, ["Data set", sweep.short], VERSUS, lines, paper, notes)


def _combined(cells: Cells, keys: Sequence[Key]) -> Table:
    first, method = keys[0], keys[0].row.method
    lines = []
    for name in datasets_of(keys):
        here = first._replace(source=name, dataset=name, part="base")
        default = triple(cells, here._replace(row=Row(method))).hm
        for row in rows_of(keys):
            lines.append(Line(name, row.variant.lstrip("+"), triple(cells, here._replace(row=row)), default))
    what = f"{method}: several settings, base to new, {first.shots} shots, {first.backbone}: accuracy in percent"
    name = _name(method, "several", first.backbone, first.shots)
    return triple_table(name, what, ["Data set", "Settings"], VERSUS, lines)


def _name(method: str, what: str, backbone: str, shots: int) -> str:
    return slug("ablation", method, what, backbone, of_shots(shots))
