"""Base-to-new results of some methods on one data set, from the records of their finished runs, as small tables.

A seed that lacks one half, or whose halves are not of one class list, is named and never averaged; rows that were
tested on different images are not compared. HM is that of the two means, as in the papers.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reporting.likeness import cautions, unlike_halves, unlike_tests
from reporting.stats import Cell, Triple, paired_difference
from reporting.tables.formats import pipe
from reporting.tables.table import Table
from runs import record
from runs.protocols import SHOTS, steps_of

HALVES = {step.subsample: step.folder for step in steps_of("base2new")}
Pair = Mapping[str, dict[str, Any]]  # records by half


@dataclass(frozen=True)
class Row:
    """Results of one method under one configuration: pairs of records by seed, as in `seed1`."""

    method: str
    config: str
    pairs: Mapping[str, Pair]

    def triple(self, dataset: str) -> Triple:
        """Return base, new and HM over the seeds."""
        halves = []
        for half in HALVES:
            records = {seed: pair[half] for seed, pair in self.pairs.items()}
            said = (f"{dataset}, {half}: {line}" for one in records.values() for line in cautions(one))
            accuracies = {seed: one["accuracy"] for seed, one in records.items()}
            halves.append(Cell.over_seeds(accuracies, tuple(records), dict.fromkeys(said)))
        return Triple.of(*halves)

    def unlike(self, other: Row) -> str:
        """Return why this row was not tested on the images of another, or ""."""
        return unlike_pairs(next(iter(other.pairs.values())), next(iter(self.pairs.values())))


def collect(output: Path, dataset: str, method: str) -> tuple[dict[str, dict[str, Pair]], list[str]]:
    """Return records of finished runs, `{cfg: {seed: {half: record}}}`, and lines on the runs that do not count."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    left_out = []
    for half, folder in HALVES.items():
        for path in sorted((output / folder / dataset / f"shots_{SHOTS}" / method).glob("*/seed*")):
            try:
                content = record.read(path)
            except (record.DamagedRecord, NotADirectoryError) as error:
                left_out.append(str(error))
                continue
            seeds = found[path.parent.name][path.name]
            named = (content or {}).get("dataset_config")  # older records do not say
            if not content or content["status"] != "success" or "accuracy" not in content:
                left_out.append(f"{path} is not finished ({content['status'] if content else 'no record'})")
            elif named and named != dataset:
                left_out.append(f"{path} is of {named}, not of {dataset}")
            else:
                seeds[half] = content
    return {cfg: dict(seeds) for cfg, seeds in found.items()}, left_out


def collect_rows(
    output: Path, dataset: str, method: str, seeds: Sequence[int] = ()
) -> tuple[list[Row], list[str], dict[str, str]]:
    """Return a row for each configuration that has a pair of finished runs, and what does not count.

    Args:
        seeds: those that count; by default all that are there.

    Returns:
        The rows, lines on single runs, and, by `METHOD CFG SEED`, why a seed has no pair.
    """
    found, left_out = collect(output, dataset, method)
    rows: list[Row] = []
    reasons: dict[str, str] = {}
    for config, by_seed in found.items():
        asked = {name: by_seed.get(name, {}) for name in (f"seed{seed}" for seed in seeds)} if seeds else by_seed
        kept, why = whole(asked)
        reasons |= {f"{method} {config} {seed}": reason for seed, reason in why.items()}
        rows += [Row(method, config, kept)] if kept else []
    return rows, left_out, reasons


def whole(seeds: Mapping[str, Pair]) -> tuple[dict[str, Pair], dict[str, str]]:
    """Return the seeds with both halves of one class list and of the same images, and why the others do not count."""
    kept: dict[str, Pair] = {}
    reasons = {}
    for seed, halves in seeds.items():
        lacking = [half for half in HALVES if half not in halves]
        reason = f"no {' and no '.join(lacking)} result" if lacking else unlike_halves(halves["base"], halves["new"])
        if kept and not reason:
            first = next(iter(kept))
            reason = unlike_pairs(kept[first], halves)
            reason = reason and f"not tested on the images of {first}: {reason}"
        if reason:
            reasons[seed] = reason
        else:
            kept[seed] = halves
    return kept, reasons


def unlike_pairs(one: Pair, other: Pair) -> str:
    """Return why two pairs of halves were not tested on the same images, or ""."""
    return next((f"{half}: {why}" for half in HALVES if (why := unlike_tests(one[half], other[half]))), "")


def print_table(output: Path, dataset: str, methods: Sequence[str]) -> int:
    """Print the means of each method. Returns 1 where one of them has no finished pair of runs, else 0."""
    rows: list[Row] = []
    status = 0
    for method in methods:
        some, notes, reasons = collect_rows(output, dataset, method)
        notes += [f"{which} is left out: {why}" for which, why in reasons.items()]
        if rows and some and (why := some[0].unlike(rows[0])):
            notes.append(f"{method} and {rows[0].method} were tested on different images: do not compare them ({why})")
        _say(notes)
        if not some:
            print(f"error: no finished pair of runs of {method} on {dataset} in {output}", file=sys.stderr)
            status = 1
        rows += some
    if rows:
        lines: list[list[Any]] = []
        for row in rows:
            names = ", ".join(seed.removeprefix("seed") for seed in row.pairs)
            lines.append([row.method, row.config, names, *map(_mean_alone, row.triple(dataset))])
        title = f"Base to new on {dataset}, {SHOTS} shots, accuracy in percent"
        _show(Table("", title, ["Method", "Config", "Seeds", "Base", "New", "HM"], lines, 3))
    return status


def print_comparison(output: Path, dataset: str, methods: Sequence[str], seeds: Sequence[int], to: str) -> int:
    """Print means, deviations and paired differences of HM to the method `to`. Returns 1 where anything is missing.

    A row that lacks some of the seeds is marked, and compared on the seeds that both have.
    """
    rows: list[Row] = []
    notes: list[str] = []
    for method in methods:
        some, lines, reasons = collect_rows(output, dataset, method, seeds)
        rows += some
        lines += [f"{which}: {why}" for which, why in reasons.items()]
        notes += lines or ([] if some else [f"{method}: no finished pair of runs on {dataset} in {output}"])
    if rows:
        reference = next((row for row in rows if row.method == to), None)
        headers = ["Method", "Config", "Seeds", "Base", "New", "HM", f"HM - {to}"]
        title = f"Base to new on {dataset}, {SHOTS} shots, seeds {', '.join(map(str, seeds))}"
        title += ", accuracy in percent"
        _show(Table("", title, headers, [_compared(row, reference, dataset, len(seeds)) for row in rows], 2))
        notes += [
            f"{row.method} {row.config} and {reference.method} were tested on different images: not compared ({why})"
            for row in rows
            if reference is not None and (why := row.unlike(reference))
        ]
    _say(notes)
    return 1 if notes else 0


def _compared(row: Row, reference: Row | None, dataset: str, wanted: int) -> list[Any]:
    there, triple = len(row.pairs), row.triple(dataset)
    count = f"{there}" if there == wanted else f"{there} of {wanted} (!)"
    versus = ""
    if reference is not None and row is not reference and not row.unlike(reference):
        found = paired_difference(triple.hm.values, reference.triple(dataset).hm.values)
        versus = str(found) if found.common else ""
        versus += f" (n = {found.common})" if 0 < found.common < wanted else ""
    return [row.method, row.config, count, triple.base, triple.new, _mean_alone(triple.hm), versus]


def _mean_alone(cell: Cell) -> Cell:
    return replace(cell, values={}, wanted=())


def _show(table: Table) -> None:
    print(table.caption)
    print(pipe(table))
    for line in table.footnotes():
        print(line)


def _say(notes: Iterable[str]) -> None:
    for line in notes:
        print(f"note: {line}", file=sys.stderr)
