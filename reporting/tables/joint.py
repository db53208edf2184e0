"""The table of base and new classes in one label space, a line for each rule by which a method scores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reporting.cells import Cells
from reporting.load.result import Key, Result, Row
from reporting.names import AVERAGE, block_name, with_average
from reporting.stats import Cell, average, average_triple, difference, harmonic
from reporting.sweeps import triple
from reporting.tables.base_to_new import datasets_of, groups, reference_of, rows_of
from reporting.tables.table import Entry, Table, count_in_a_note, drop_empty, of_shots, slug
from runs.protocols import trained_by

# Header and name in a record (`runs.joint`).
MEASURES = {
    "Acc": "accuracy",
    "ComBase": "com_base",
    "ComNew": "com_new",
    "base→new": "base_to_new",
    "new→base": "new_to_base",
    "AUROC": "auroc",
    "OpenworldAUC": "openworld_auc",
}
LOWER = ("base→new", "new→base")
NOTES = (
    "No image's side is known. Acc is over all images, ComBase and ComNew on those of one side, HM is of these two; "
    "base→new is the part of base images that are taken for a new class.",
    "AUROC tells base images from new ones by the largest probability of a base class. OpenworldAUC: of all pairs of a "
    "base and a new image, those in which each is right among its side's classes and the base image's is the higher.",
    "Known sides: HM of base to new, for the same model.",
)


def joint(cells: Cells, keys: Sequence[Key], to: str) -> Iterator[Table]:
    """Yield a table for each backbone and number of shots; differences are to the own rule of the method `to`."""
    for backbone, every in groups(keys, "joint"):
        for shots in sorted({key.shots for key in every}):
            some = [key for key in every if key.shots == shots]
            names, versus = datasets_of(some), f"OpenworldAUC - {to}"
            headers = ["Data set", "Method", "n", "Acc", "ComBase", "ComNew", "HM", *list(MEASURES)[3:], "Known sides"]
            rows = [row for name in with_average(names) for row in _rows(cells, some, name, names, to)]
            headers, rows = drop_empty([*headers, versus], rows, keep=len(headers) - 1)
            title = f"Base and new classes in one label space, {shots} shots, {backbone}: percent"
            name = slug("joint", backbone, of_shots(shots))
            yield count_in_a_note(Table(name, title, headers, rows, 2, list(NOTES), lower=LOWER))


def _rows(cells: Cells, keys: Sequence[Key], name: str, names: list[str], to: str) -> Iterator[list[Entry]]:
    """Yield the lines of a data set, or of the average over `names`."""
    some = [keys[0]._replace(source=one, dataset=one) for one in (names if name == AVERAGE else [name])]

    def cell(row: Row, rule: str, what: str) -> Cell:
        def measure(result: Result) -> float | None:
            return result.record.get("joint", {}).get(rule, {}).get(what)

        found = [cells.over_seeds(key._replace(row=row), measure) for key in some]
        return average(found) if name == AVERAGE else found[0]

    def known(row: Row) -> Cell | None:
        base = [key._replace(row=row, protocol=trained_by("joint"), part="base") for key in some]
        found = [triple(cells, key) for key in base]
        hm = (average_triple(found) if name == AVERAGE else found[0]).hm
        return None if hm.center is None else hm

    rules = {row: _rules(cells, keys, row) for row in rows_of(keys)}
    reference = reference_of(list(rules), to)
    for row, rule in [(one, rule) for one, its in rules.items() for rule in its]:
        acc, base, new, *rest = (cell(row, rule, what) for what in MEASURES.values())
        compared = None
        if reference and (row, rule) != (reference, rules[reference][0]):
            compared = difference(rest[-1], cell(reference, rules[reference][0], "openworld_auc"))
        label, count = row.label + (f", {rule}" if len(rules[row]) > 1 else ""), str(len(acc.values))
        yield [block_name(name, names), label, count, acc, base, new, harmonic(base, new), *rest, known(row), compared]


def _rules(cells: Cells, keys: Sequence[Key], row: Row) -> list[str]:
    """Return the rules by which a row's runs scored, its own first; one without a name where nothing ran."""
    results = (result for key in keys if key.row == row for result in cells.results(key))
    return list(dict.fromkeys(rule for result in results for rule in result.record.get("joint", {}))) or [""]
