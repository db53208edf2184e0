"""Base / New / HM of base-to-new runs from their records (`python mmrl.py table`)."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from runs import record
from runs.likeness import DAGGER, cautions, unlike_halves, unlike_tests

HALVES = {"base": "train_base", "new": "test_new"}
Key = tuple[str, str]  # trainer, configuration
Pair = Mapping[str, dict[str, Any]]  # records by half


def harmonic_mean(base: float, new: float) -> float:
    """2ab / (a + b), and 0 when both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def collect(output: Path, dataset: str, trainer: str) -> tuple[dict[Key, dict[str, Pair]], list[str]]:
    """Records of finished runs, `{(trainer, cfg): {seed: {half: record}}}`, and lines on runs that do not count."""
    found: dict[Key, dict[str, dict[str, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    left_out = []
    for half, folder in HALVES.items():
        for path in sorted((output / "base2new" / folder / dataset / "shots_16" / trainer).glob("*/seed*")):
            try:
                content = record.read(path)
            except (record.DamagedRecord, NotADirectoryError) as error:
                left_out.append(str(error))
                continue
            seeds = found[trainer, path.parent.name][path.name]
            named = (content or {}).get("dataset_config")  # older records do not say
            if not content or content["status"] != "success" or "accuracy" not in content:
                left_out.append(f"{path} is not finished ({content['status'] if content else 'no record'})")
            elif named and named != dataset:
                left_out.append(f"{path} is of {named}, not of {dataset}")
            else:
                seeds[half] = content
    return {key: dict(seeds) for key, seeds in found.items()}, left_out


def whole(seeds: Mapping[str, Pair]) -> tuple[dict[str, Pair], dict[str, str]]:
    """Seeds with both halves of one class list, tested on the same images; why the others do not count."""
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
    """Why two pairs of halves were not tested on the same images, or ""."""
    return next((f"{half}: {why}" for half in HALVES if (why := unlike_tests(one[half], other[half]))), "")


def footnotes(dataset: str, pairs: Iterable[Pair]) -> list[str]:
    """What a table says below it of numbers that mean little, once each."""
    lines = [f"{DAGGER} {dataset}, {half}: {line}" for one in pairs for half in HALVES for line in cautions(one[half])]
    return list(dict.fromkeys(lines))


def dagger(pairs: Iterable[Pair], *halves: str) -> str:
    """The mark of a number over these pairs, or ""."""
    return f" {DAGGER}" if any(cautions(pair[half]) for pair in pairs for half in halves) else ""


def rows(found: Mapping[Key, Mapping[str, Pair]]) -> tuple[list[list[str]], list[Pair], list[str]]:
    """Table rows (method, configuration, seeds, Base, New, HM), their pairs, and lines on seeds that do not count."""
    table: list[list[str]] = []
    pairs: list[Pair] = []
    left_out = []
    for (trainer, cfg), seeds in found.items():
        kept, reasons = whole(seeds)
        left_out += [f"{trainer} {cfg} {seed} is left out: {reason}" for seed, reason in reasons.items()]
        if kept:
            base, new = (statistics.mean(pair[half]["accuracy"] for pair in kept.values()) for half in HALVES)
            numbers = {("base",): base, ("new",): new, ("base", "new"): harmonic_mean(base, new)}
            cells = [f"{value:.2f}{dagger(kept.values(), *of)}" for of, value in numbers.items()]
            table.append([trainer, cfg, ", ".join(seed.removeprefix("seed") for seed in kept), *cells])
            pairs += kept.values()
    return table, pairs, left_out


def show(output: Path, dataset: str, trainers: Sequence[str]) -> int:
    """Print the table. Returns 1 when one of the methods has no finished pair of runs."""
    table: list[list[str]] = []
    pairs: list[Pair] = []
    status = 0
    for trainer in trainers:
        found, unfinished = collect(output, dataset, trainer)
        some, theirs, left_out = rows(found)
        if pairs and theirs and (why := unlike_pairs(pairs[0], theirs[0])):
            left_out.append(f"{trainer} and {table[0][0]} were tested on different images: do not compare them ({why})")
        for line in unfinished + left_out:
            print(f"note: {line}", file=sys.stderr)
        if not some:
            print(f"error: no finished pair of runs of {trainer} on {dataset} in {output}", file=sys.stderr)
            status = 1
        table += some
        pairs += theirs
    if table:
        print(f"Base to new on {dataset}, 16 shots, accuracy in percent")
        headers = ["Method", "Config", "Seeds", "Base", "New", "HM"]
        print(
            tabulate(
                table, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=("left",) * 3 + ("right",) * 3
            )
        )
    for line in footnotes(dataset, pairs):
        print(line)
    return status
