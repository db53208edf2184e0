"""Methods on the same splits: base-to-new results over seeds, and paired differences (`python mmrl.py compare`)."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from runs.table import Pair, collect, dagger, footnotes, harmonic_mean, unlike_pairs, whole

HEADERS = ["Method", "Config", "Seeds", "Base", "New", "HM", "HM - {to}"]


@dataclass(frozen=True)
class Row:
    """Results of one method under one configuration: the records of base and new by seed."""

    method: str
    config: str
    pairs: Mapping[int, Pair]

    def accuracies(self, half: str) -> dict[int, float]:
        """Percent by seed."""
        return {seed: pair[half]["accuracy"] for seed, pair in self.pairs.items()}

    @property
    def hm(self) -> dict[int, float]:
        """Harmonic mean of each seed."""
        base, new = self.accuracies("base"), self.accuracies("new")
        return {seed: harmonic_mean(base[seed], new[seed]) for seed in base}

    def unlike(self, other: Row) -> str:
        """Why this row does not compare with another, or ""."""
        return unlike_pairs(next(iter(other.pairs.values())), next(iter(self.pairs.values())))


def collect_rows(output: Path, dataset: str, method: str, seeds: Sequence[int]) -> tuple[list[Row], list[str]]:
    """One row per configuration with a finished pair of runs of any of the seeds, and lines on what is missing."""
    found, notes = collect(output, dataset, method)
    rows = []
    for (_, config), by_seed in found.items():
        kept, reasons = whole({f"seed{seed}": by_seed.get(f"seed{seed}", {}) for seed in seeds})
        notes += [f"{method} {config} {seed}: {reason}" for seed, reason in reasons.items()]
        if kept:
            rows.append(Row(method, config, {int(seed.removeprefix("seed")): pair for seed, pair in kept.items()}))
    return rows, notes


def paired_difference(ours: dict[int, float], theirs: dict[int, float]) -> tuple[float, float, int]:
    """Mean of ``ours - theirs`` over common seeds, half its 95 % confidence interval (nan below two), how many."""
    from scipy import stats  # slow to import, and wanted for this alone

    common = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not common:
        return math.nan, math.nan, 0
    if len(common) == 1:
        return common[0], math.nan, 1
    half = stats.t.ppf(0.975, len(common) - 1) * statistics.stdev(common) / math.sqrt(len(common))
    return statistics.mean(common), float(half), len(common)


def render(rows: Sequence[Row], reference: Row | None, to: str, seeds: Sequence[int]) -> str:
    """The table in Markdown."""
    table = [_cells(row, reference, seeds) for row in rows]
    headers = [header.format(to=to) for header in HEADERS]
    align = ("left", "left", *("right",) * 5)
    return tabulate(table, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def _cells(row: Row, reference: Row | None, seeds: Sequence[int]) -> list[str]:
    count = f"{len(row.pairs)}" if len(row.pairs) == len(seeds) else f"{len(row.pairs)} of {len(seeds)} (!)"
    base, new = row.accuracies("base"), row.accuracies("new")
    hm = harmonic_mean(statistics.mean(base.values()), statistics.mean(new.values()))
    difference = ""
    if reference is not None and row is not reference and not row.unlike(reference):
        mean, half, common = paired_difference(row.hm, reference.hm)
        if common:
            difference = f"{mean:+.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")
        if 0 < common < len(seeds):
            difference += f" (n = {common})"
    halves = {("base",): _spread(base), ("new",): _spread(new), ("base", "new"): f"{hm:.2f}"}
    cells = [f"{text}{dagger(row.pairs.values(), *of)}" for of, text in halves.items()]
    return [row.method, row.config, count, *cells, difference]


def _spread(values: dict[int, float]) -> str:
    mean = f"{statistics.mean(values.values()):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values.values()):.2f}"


def show(output: Path, dataset: str, methods: Sequence[str], seeds: Sequence[int], to: str) -> int:
    """Print the table. Returns 1 where a method has no finished pair of runs at all, or lacks a seed."""
    rows: list[Row] = []
    notes: list[str] = []
    for method in methods:
        some, lines = collect_rows(output, dataset, method, seeds)
        rows += some
        notes += lines or ([] if some else [f"{method}: no finished pair of runs on {dataset} in {output}"])
    if rows:
        reference = next((row for row in rows if row.method == to), None)
        names = ", ".join(map(str, seeds))
        print(f"Base to new on {dataset}, 16 shots, seeds {names}, accuracy in percent (mean ± standard deviation)")
        print(render(rows, reference, to, seeds))
        for line in footnotes(dataset, [pair for row in rows for pair in row.pairs.values()]):
            print(line)
        notes += [
            f"{row.method} {row.config} and {reference.method} were tested on different images: not compared ({why})"
            for row in rows
            if reference is not None and (why := row.unlike(reference))
        ]
    for line in notes:
        print(f"note: {line}", file=sys.stderr)
    return 1 if notes else 0
