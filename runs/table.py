"""Print Base / New / HM of base-to-new runs from their records.

    python -m runs.table digits MMRL ZeroshotCLIP [--output output]

Only finished runs count; a seed that lacks one half is named, never averaged. HM is that of the two means, as in
the papers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from tabulate import tabulate

from datasets.text import print_anything
from runs import record

HALVES = {"base": "train_base", "new": "test_new"}
Key = tuple[str, str]  # trainer, configuration


def harmonic_mean(base: float, new: float) -> float:
    """2ab / (a + b), and 0 when both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def collect(output: Path, dataset: str, trainer: str) -> tuple[dict[Key, dict[str, dict[str, float]]], list[str]]:
    """Accuracies of finished runs, `{(trainer, cfg): {seed: {half: accuracy}}}`, and lines on unfinished ones."""
    found: dict[Key, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    left_out = []
    for half, folder in HALVES.items():
        for path in sorted((output / "base2new" / folder / dataset / "shots_16" / trainer).glob("*/seed*")):
            try:
                content = record.read(path)
            except (record.DamagedRecord, NotADirectoryError) as error:
                left_out.append(str(error))
                continue
            seeds = found[trainer, path.parent.name][path.name]
            if content and content["status"] == "success" and "accuracy" in content:
                seeds[half] = content["accuracy"]
            else:
                left_out.append(f"{path} is not finished ({content['status'] if content else 'no record'})")
    return found, left_out


def rows(found: dict[Key, dict[str, dict[str, float]]]) -> tuple[list[list[str]], list[str]]:
    """Table rows (method, configuration, seeds, Base, New, HM) and lines on seeds that lack a half."""
    table, left_out = [], []
    for (trainer, cfg), seeds in found.items():
        whole = {seed: halves for seed, halves in seeds.items() if len(halves) == len(HALVES)}
        for seed, halves in seeds.items():
            lacking = [half for half in HALVES if half not in halves]
            if lacking:
                left_out.append(f"{trainer} {cfg} {seed} is left out: no {' and no '.join(lacking)} result")
        if whole:
            base = statistics.mean(halves["base"] for halves in whole.values())
            new = statistics.mean(halves["new"] for halves in whole.values())
            accuracies = [f"{value:.2f}" for value in (base, new, harmonic_mean(base, new))]
            table.append([trainer, cfg, ", ".join(seed.removeprefix("seed") for seed in whole), *accuracies])
    return table, left_out


def main() -> int:
    """Print the table. Returns 1 when a method named on the command line has no finished pair of runs."""
    print_anything()
    parser = argparse.ArgumentParser(prog="python -m runs.table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dataset", help="dataset configuration, such as digits")
    parser.add_argument("trainers", nargs="+", help="methods, one or more rows each")
    parser.add_argument("--output", default="output", type=Path, help="folder of all runs (default: output)")
    args = parser.parse_args()

    table: list[list[str]] = []
    status = 0
    for trainer in args.trainers:
        found, unfinished = collect(args.output, args.dataset, trainer)
        some, halves = rows(found)
        for line in unfinished + halves:
            print(f"note: {line}", file=sys.stderr)
        if not some:
            print(f"error: no finished pair of runs of {trainer} on {args.dataset} in {args.output}", file=sys.stderr)
            status = 1
        table += some
    if table:
        print(f"Base to new on {args.dataset}, 16 shots, accuracy in percent")
        headers = ["Method", "Config", "Seeds", "Base", "New", "HM"]
        print(
            tabulate(
                table, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=("left",) * 3 + ("right",) * 3
            )
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
