"""The published numbers and what others got again, from `paper/*.csv` (sources: `paper/README.md`)."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from reporting.load.result import Key, Row
from reporting.names import AVERAGE, PAPER_BACKBONE, PAPER_DATASETS, PAPER_METHODS
from reporting.stats import OUTSIDE, harmonic_mean
from reporting.sweeps import Sweep
from runs.environment import PROJECT

FOLDER = PROJECT / "paper"
# Rows of Tables 4, 5 and 9, by the setting and its value in this project.
VARIANTS = {
    "w/o L": "wo_L",
    "w/o V": "wo_V",
    "w/o DS1": "wo_DS1",
    "w/o DS2": "wo_DS2",
    "w/o RS": "wo_RS",
    "MMRL-dagger": "biased",
    "MMRL": "full",
}
REGULARIZERS = {"Cosine": "cos", "L1": "l1", "MSE": "mse"}


def read(name: str, folder: Path = FOLDER) -> list[dict[str, str]]:
    """Return the rows of a table. Raises FileNotFoundError naming the file."""
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: the published numbers come with the project")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def our_name(method: str) -> str:
    """Return a method's name here, from its name in the paper."""
    return PAPER_METHODS.get(method, method)


def part_of(row: dict[str, str]) -> str:
    """Return which part of the classes a row is of: base, new (the paper's novel) or hm."""
    return {"novel": "new"}.get(row["metric"], row["metric"])


@cache
def accuracies() -> dict[tuple[str, str, str, str, int], float]:
    """Return all published accuracies: (protocol, method, data set or `average`, part, shots) -> percent."""
    found: dict[tuple[str, str, str, str, int], float] = {}
    for row in read("table1_base_to_novel") + read("alignednorm_base_to_new"):
        found["base2new", our_name(row["method"]), row["dataset"], part_of(row), 16] = float(row["value"])
    for name in ("table2_cross_dataset", "table3_domain_generalization"):
        for row in read(name):
            found.setdefault(("xd", our_name(row["method"]), row["dataset"], "all", 16), float(row["value"]))
    for row in read("table10_11_few_shot"):
        found["fewshot", our_name(row["method"]), row["dataset"], "all", int(row["shots"])] = float(row["accuracy"])
    return found


def _place(key: Key, part: str) -> tuple[str, str, str, str, int] | None:
    """Return where published numbers have a cell, by default of its own part; None where they are not comparable.

    They are of ViT-B/16, of methods in their default settings, and of ImageNet as cross-dataset source. A log of
    another repository is taken for one of default settings.
    """
    row, protocol = key.row, key.protocol
    other = row.variant and not row.foreign  # another repository's log names its own configuration
    if key.backbone != PAPER_BACKBONE or other or (protocol == "xd" and key.source != "imagenet"):
        return None
    return protocol, row.method, key.dataset, part or key.part, key.shots


def published(key: Key, part: str = "") -> float | None:
    """Return the published number beside a cell; None where there is none."""
    place = _place(key, part)
    return accuracies().get(place) if place else None


@cache
def reruns() -> dict[tuple[str, str, str, str, int], list[float]]:
    """Return what others got with the public code or a port of it, by place as in `accuracies`."""
    found: dict[tuple[str, str, str, str, int], list[float]] = defaultdict(list)
    for row in read("reruns"):
        base, new = float(row["base"]), float(row["new"])
        for part, value in (("base", base), ("new", new), ("hm", harmonic_mean(base, new))):
            found[row["protocol"], our_name(row["method"]), row["dataset"], part, int(row["shots"])].append(value)
    return dict(found)


def rerun_range(key: Key, part: str = "") -> str | None:
    """Return the lowest and highest re-run beside a cell and how many there are: `71.27 to 74.53 (5)`.

    OUTSIDE marks where the published number, at its two digits, is not among them.
    """
    place = _place(key, part)
    values = sorted(round(value, 2) for value in reruns().get(place, ())) if place else []
    if not values:
        return None
    low, high = values[0], values[-1]
    number = published(key, part)
    outside = number is not None and len(values) > 1 and not low <= number <= high
    span = f"{low:.2f} to {high:.2f}" if low < high else f"{low:.2f}"
    return f"{span} ({len(values)}){f' {OUTSIDE}' if outside else ''}"


def remarks(keys: Sequence[Key]) -> list[str]:
    """Return the lines below a table of these cells: what re-runs are, known reasons, how lambda was chosen."""
    places = {(key.row.method, key.dataset) for key in keys if rerun_range(key) is not None}
    lines = [
        "Re-runs: lowest to highest mean of others with the public code or a port of it (how many); "
        f"{OUTSIDE} the published number is outside. Sources: paper/README.md. This project has measured none of these."
    ]
    for row in read("reasons"):
        if (row["method"], row["dataset"]) in places:
            lines.append(f"{OUTSIDE} {row['method']}, {row['dataset']}, {row['part']}: {row['reason']}.")
    if any(method == "MMRL" for method, _ in places):
        lines.append("MMRL's published lambda is the best of Table 8 on each data set, by the score on test classes.")
    return lines if places else []


@cache
def ablations() -> dict[tuple[str, str, str], dict[str, float]]:
    """Return Tables 4, 5, 8, 9: (setting, value as `plain_value` has it, data set or `average`) -> base, new, hm."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for name, column, setting, dataset, names in (
        ("table4_variants", "variant", "VARIANT", AVERAGE, VARIANTS),
        ("table4_rep_dim", "rep_dim", "REP_DIM", AVERAGE, {}),
        ("table5_alpha", "alpha", "ALPHA", AVERAGE, {}),
        ("table5_lambda_imagenet", "lambda", "REG_WEIGHT", "imagenet", {}),
        ("table9_regularization", "regularization", "REGULARIZER", AVERAGE, REGULARIZERS),
    ):
        for row in read(name):
            value = plain_value(names.get(row[column], row[column]))
            found.setdefault((setting, value, dataset), {})[part_of(row)] = float(row["value"])
    for row in read("table8_lambda"):
        found.setdefault(("REG_WEIGHT", plain_value(row["lambda"]), row["dataset"]), {})["hm"] = float(row["hm"])
    return found


def plain_value(value: str) -> str:
    """Return a setting's value so that `2`, `2.0` and `2.00` are one."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def published_ablation(sweep: Sweep, value: str, dataset: str) -> dict[str, float]:
    """Return the published base, new, hm of a setting's value, if any (averages: of 11 data sets)."""
    if (sweep.method, sweep.backbone, sweep.shots) != ("MMRL", PAPER_BACKBONE, 16):
        return {}
    if dataset == AVERAGE and set(sweep.datasets) != set(PAPER_DATASETS):
        return {}
    return ablations().get((sweep.short, plain_value(value), dataset), {})


def costs() -> dict[Row, dict[str, str]]:
    """Return Table 6 by method; `MMRL*` is MMRL with d_r = 32."""
    rows = read("table6_cost")
    return {
        Row(our_name(row["method"].rstrip("*")), "+REP_DIM=32" if row["method"].endswith("*") else ""): row
        for row in rows
    }


def has_published(keys: Sequence[Key]) -> bool:
    """Return whether the paper has a number for any of these cells."""
    return any(published(key) is not None for key in keys)
