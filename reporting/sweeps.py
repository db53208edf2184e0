"""Ablations: settings swept by the grid's `--set`, each with its values, data sets and cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reporting.cells import Cells
from reporting.changes import file_of, full_name, plain, short_name, shown
from reporting.load.result import Key, Row
from reporting.names import AVERAGE, dataset_order, method_order
from reporting.stats import Triple, average_triple
from runs.protocols import tag

# Settings that change what a run costs and no result: their rows are in the table of costs.
COST_ONLY = {"DATALOADER.TEST.BATCH_SIZE"}
# The paper's order of MMRL's variants (Table 4) and distances (Table 9).
ORDER = ("full", "wo_L", "wo_V", "wo_DS1", "wo_DS2", "wo_RS", "biased", "cos", "l1", "mse")
# Data sets that keep their own value in a sweep (the paper's supplement A): their runs stand in every row.
OWN = {"TRAINER.MMRL.REP_DIM": ("eurosat",)}
# Variants that are other tests of the full model: the half that they leave alone is the full model's.
TESTS_OF_FULL = {"wo_DS1": "new", "wo_DS2": "base"}


@dataclass(frozen=True)
class Sweep:
    """One setting of one method, swept.

    Attributes:
        setting: its full key.
        points: the row of each (value as text, data set); none where a value did not run.
        defaults: the value that each data set has by default, as text.
        own: data sets that keep their default in every row.
    """

    method: str
    backbone: str
    shots: int
    setting: str
    values: tuple[str, ...]
    datasets: tuple[str, ...]
    points: dict[tuple[str, str], Row]
    defaults: dict[str, str]
    own: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The setting as folder names have it."""
        return short_name(self.setting)

    def key(self, value: str | None, dataset: str) -> Key:
        """Return the key of a value's cell, of the default's for None; where nothing ran, of the run to come."""
        row = Row(self.method)
        if value is not None and dataset not in self.own:
            row = self.points.get((value, dataset)) or Row(self.method, f"+{tag(self.setting, value)}")
        return Key("base2new", self.backbone, row, dataset, dataset, "base", self.shots)

    def triple(self, cells: Cells, value: str | None, dataset: str) -> Triple:
        """Return base, new and HM of a value, of the default for None, on a data set or on AVERAGE."""
        if dataset == AVERAGE:
            return average_triple([self.triple(cells, value, name) for name in self.datasets])
        return triple(cells, self.key(value, dataset))

    def is_default(self, value: str, dataset: str) -> bool:
        """Return whether a value is the default of a data set, of each of them for AVERAGE."""
        defaults = set(self.defaults.values()) if dataset == AVERAGE else {self.defaults.get(dataset, "")}
        return defaults == {value}


def triple(cells: Cells, key: Key) -> Triple:
    """Return base, new and HM of a row; a half that a variant shares with the full model is taken from there."""
    _borrow(cells, key)
    return Triple.of(*cells.halves(key))


def _borrow(cells: Cells, key: Key) -> None:
    """Give `cells` the full model's half for wo_DS1 and wo_DS2 that were tests of a full model and nothing else."""
    part = TESTS_OF_FULL.get(key.row.variant.removeprefix("+VARIANT="), "")
    tested = key._replace(part="base" if part == "new" else "new")
    if part and not cells.results(key._replace(part=part)) and cells.results(tested):
        full = key._replace(row=Row(key.row.method))
        trained = {result.record.get("run_id") for result in cells.results(full._replace(part="base"))}
        seeds = {result.seed for result in cells.results(tested) if result.config.get("run.model") in trained}
        lent = [result for result in cells.results(full._replace(part=part)) if result.seed in seeds]
        cells.lend(key._replace(part=part), lent)


def is_ablation(key: Key) -> bool:
    """Return whether a base-to-new row is a sweep's, and stands in its table, not in the main one."""
    return key.protocol == "base2new" and key.row.variant.startswith("+") and not key.row.foreign


def _swept(row: Row) -> list[str]:
    """Return the settings that a row changes, but for those that concern cost alone."""
    return [short for short in row.changes if short not in COST_ONLY]


def _groups(keys: Sequence[Key]) -> Iterator[list[Key]]:
    by: dict[tuple[str, str, int], list[Key]] = defaultdict(list)
    for key in keys:
        if key.protocol == "base2new" and not key.row.foreign:
            by[key.backbone, key.row.method, key.shots].append(key)
    yield from (by[group] for group in sorted(by, key=lambda g: (g[0], method_order(g[1]), g[2])))


def sweeps(cells: Cells, keys: Sequence[Key]) -> Iterator[Sweep]:
    """Yield every setting that is swept alone, by backbone, method and number of shots."""
    for group in _groups(keys):
        single = [key for key in group if is_ablation(key) and len(key.row.changes) == 1]
        for short in sorted({setting for key in single for setting in _swept(key.row)}):
            yield _sweep(cells, [key for key in single if _swept(key.row) == [short]], group, short)


def combinations(keys: Sequence[Key]) -> Iterator[list[Key]]:
    """Yield the keys of rows that change several settings at once, by backbone, method and number of shots."""
    for group in _groups(keys):
        several = [key for key in group if is_ablation(key) and len(_swept(key.row)) > 1]
        if several:
            yield several


def _sweep(cells: Cells, swept: list[Key], group: list[Key], short: str) -> Sweep:
    first, default = swept[0], Row(swept[0].row.method)
    setting = full_name(first.row.method, short)
    points = {(_value(cells, key, setting), key.dataset): key.row for key in swept}
    names = {key.dataset for key in swept}
    has_default = {key.dataset for key in group if key.row == default}
    own = tuple(sorted(name for name in OWN.get(setting, ()) if name in has_default - names))
    defaults = {}
    for name in names:
        value = _default(cells, first._replace(row=default, dataset=name, source=name), setting)
        if value is not None:
            defaults[name] = value
            points.setdefault((value, name), default)
    values = tuple(sorted({value for value, _ in points}, key=value_order))
    ordered = tuple(sorted({*names, *own}, key=dataset_order))
    return Sweep(first.row.method, first.backbone, first.shots, setting, values, ordered, points, defaults, own)


def _value(cells: Cells, key: Key, setting: str) -> str:
    """Return the value that the runs of a row have, or, before the first has come to its end, what its name says."""
    for part in ("base", "new"):
        for result in cells.results(key._replace(part=part)):
            values = shown(key, result.config)
            if setting in values:
                return str(values[setting])
    return next(iter(key.row.changes.values()))


def _default(cells: Cells, key: Key, setting: str) -> str | None:
    """Return the value of a data set's default run, or of its configuration where that has not run."""
    for result in cells.results(key):
        if setting in result.config:
            return str(result.config[setting])
    settings = plain(key.row.method, key.dataset, file_of(key), key.protocol) or {}
    return str(settings[setting]) if setting in settings else None


def value_order(value: str) -> tuple[int, float, str]:
    """Return the sort key of a value: numbers by size, lists by their first entry, names as the paper has them."""
    number = as_number(value)
    if number is not None:
        return (0, number, value)
    return (1, ORDER.index(value) if value in ORDER else len(ORDER), value)


def as_number(value: Any) -> float | None:
    """Return a number, or the first of a list of numbers (J of the layers J..L); None for anything else."""
    try:
        return float(str(value).strip("[]() ").split(",")[0])
    except ValueError:
        return None
