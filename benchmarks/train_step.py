"""Time, launches and peak memory of a training step, against the plain reference of the tests.

    python benchmarks/train_step.py --targets

A step is forward, loss, backward and the AdamW update. ViT-B/16 at full size, random weights, ImageNet's names. Both
sides take turns in one process (A B A B, medians), after a check that they give the same loss and gradients; each
side's memory is measured in a process of its own. benchmarks/README.md explains the columns.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common

COLUMNS = {
    "method": ("method", ""),
    "classes": ("classes", ","),
    "batch": ("batch", ""),
    "precision": ("precision", ""),
    "plain_precision": ("plain precision", ""),
    "device": ("device", ""),
    "plain_ms": ("ms/step plain", ",.0f"),
    "ours_ms": ("ms/step ours", ",.1f"),
    "faster": ("faster by", ".2f"),
    "ms_per_image": ("ms/image ours", ",.2f"),
    "plain_launches": ("launches plain", ",d"),
    "ours_launches": ("launches ours", ",d"),
    "plain_extra": ("extra peak MB plain", ",.0f"),
    "ours_extra": ("extra peak MB ours", ",.0f"),
    "memory": ("ours/plain", ".3f"),
    "gflop": ("GFLOP ours", ",.1f"),
    "rate": ("products GFLOP/s", ",.0f"),
    "fraction": ("of that rate", ".1%"),
}
CUDA_COLUMNS = {
    "plain_kernels": ("kernels plain", ",d"),
    "ours_kernels": ("kernels ours", ",d"),
    "plain_issue_ms": ("ms to issue plain", ",.1f"),
    "ours_issue_ms": ("ms to issue ours", ",.1f"),
}
SWEEPS = {
    "classes": {"classes": [10, 50, 100, 250, 500, 1000, 2000, 5000, 10000, 20000], "batch": [4]},
    "batch": {"classes": [50], "batch": [1, 2, 4, 8, 16, 32, 64]},
}
MB = 1e6


@dataclass(frozen=True)
class Target:
    """What a row should reach: ``faster`` than plain, its share of plain's ``memory``, the whole peak in GB."""

    classes: int
    batch: int
    faster: float | None = None
    memory: float | None = None
    peak_gb: float | None = None


# By device and precision: the reference's precision, and the rows.
TARGETS = {
    ("cpu", "fp32"): (
        "fp32",
        [
            Target(50, 4, 3.8, 1 / 5),
            Target(100, 16, 3.4, 1 / 3),
            Target(250, 4, 15, 1 / 10),
            Target(500, 8, 15, 1 / 10),
        ],
    ),
    ("cpu", "bf16"): ("fp32", [Target(50, 4, 8)]),
    ("cuda", "amp"): ("amp", [Target(50, 4, 4), Target(500, 32, 8), Target(1000, 32, peak_gb=6)]),
}
RATE_TARGET = 0.85  # of the machine's matrix products, float32


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = common.parser(str(__doc__).split("\n")[0], classes=[50], batch=[4])
    presets = parser.add_mutually_exclusive_group()
    presets.add_argument("--targets", action="store_true", help="the rows that have targets, each with met or missed")
    presets.add_argument("--sweep", choices=SWEEPS, help="growth with the classes (batch 4) or the batch (50 classes)")
    parser.add_argument("--compile", action="store_true", help="compile our step, as TRAINER.COMPILE does")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    return parser


def targets_of(precision: str, device: str) -> tuple[str, list[Target]]:
    """The reference's precision and the rows. Raises ValueError where nothing was set."""
    key = (device.split(":")[0], precision)
    if key not in TARGETS:
        known = ", ".join(f"{p} on {d}" for d, p in TARGETS)
        raise ValueError(f"there are no targets for {precision} on {key[0]}: there are for {known}")
    return TARGETS[key]


def rows_wanted(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What the options ask for: classes, batch and precisions of each row."""
    wanted = []
    for precision in args.precision:
        if args.targets:
            plain, targets = targets_of(precision, args.device)
            pairs = [(target.classes, target.batch) for target in targets]
        else:
            plain, grid = args.plain_precision or precision, SWEEPS.get(args.sweep, vars(args))
            pairs = list(itertools.product(grid["classes"], grid["batch"]))
        wanted += [
            {"classes": classes, "batch": batch, "precision": precision, "plain_precision": plain}
            for classes, batch in pairs
        ]
    return wanted


def measure_case(case: Any, weights: Path, *, repeats: int, plain: bool, memory: bool, warm_up: int = 0) -> dict:
    """One row. A side whose memory does not suffice is not timed; it is None in the row, and ``short`` names it."""
    import torch

    from benchmarks import cases
    from benchmarks.measure import MatrixProducts, alternate
    from benchmarks.memory import peak_of_step

    title = f"{case.method}, {case.classes} classes, batch {case.batch}, {case.precision}"
    sides = ["plain", "ours"] if plain else ["ours"]
    peaks: dict[str, dict[str, int] | None] = {}
    if memory:
        for side in sides:
            common.log(f"{title}: memory of {side}")
            peaks[side] = peak_of_step(case, side, weights, torch.get_num_threads())
    short = [side for side, peak in peaks.items() if peak is None]
    steps = {side: cases.step_of(case, side, weights) for side in sides if side not in short}
    common.log(f"{title}: first steps")
    row = asdict(case)
    for side in ("plain", "ours"):
        row |= {f"{side}_{key}": value for key, value in first_step(steps.get(side)).items()}
    row["launches"] = common.ratio(row["ours_launches"], row["plain_launches"])
    difference = None
    if len(steps) == 2:
        difference = cases.check_same_step(steps["ours"], steps["plain"])
    if case.compiled and "ours" in steps:
        steps["ours"].compile()
    products = MatrixProducts(case.precision, case.device)
    seconds = alternate(steps | {"products": products}, repeats, case.device, title, warm_up)
    for side in ("plain", "ours"):
        row |= {f"{side}_{key}": value for key, value in _on_cuda(steps.get(side), repeats, case.device).items()}
    row |= _numbers(case.batch, seconds, row["ours_gflop"], products.flops / seconds["products"] / 1e9)
    return row | _memory(peaks) | {"loss_difference": difference, "short": short}


def first_step(step: Any) -> dict[str, float | None]:
    """Take a side's first step, if there is one. Return what its forward and backward pass count."""
    from benchmarks.measure import Launches, count_flops

    if step is None:
        return {"gflop": None, "launches": None}
    launches = Launches()

    def counted() -> None:
        with launches:  # within: the counter of operations takes apart some that are one launch
            step.backward()

    flops = count_flops(counted)
    step.update()
    return {"gflop": flops / 1e9, "launches": launches.count}


def _on_cuda(step: Any, repeats: int, device: str) -> dict[str, float | None]:
    from benchmarks.measure import count_kernels, issue_seconds

    if step is None:
        return {"kernels": None, "issue_ms": None}
    seconds = issue_seconds(step.backward, repeats, device)
    return {"kernels": count_kernels(step.backward, device), "issue_ms": seconds and seconds * 1e3}


def _numbers(batch: int, seconds: dict[str, float], gflop: float | None, rate: float) -> dict[str, float | None]:
    ours, plain = seconds.get("ours"), seconds.get("plain")
    return {
        "ours_ms": ours and ours * 1e3,
        "plain_ms": plain and plain * 1e3,
        "faster": common.ratio(plain, ours),
        "ms_per_image": ours and ours * 1e3 / batch,
        "gflop": gflop,
        "rate": rate,
        "fraction": common.ratio(gflop, ours and ours * rate),
    }


def _memory(peaks: dict[str, dict[str, int] | None]) -> dict[str, float | None]:
    megabytes = {
        f"{side}_{key}": peak[key] / MB for side, peak in peaks.items() if peak is not None for key in ("held", "extra")
    }
    row = {f"{side}_{key}": megabytes.get(f"{side}_{key}") for side in ("ours", "plain") for key in ("held", "extra")}
    return row | {"memory": common.ratio(row["ours_extra"], row["plain_extra"])}


def verdicts(row: dict[str, Any], target: Target, bf16_instructions: bool) -> list[str]:
    """One line per target of a row: what was measured, what was wanted, met or missed."""
    where = f"{row['classes']} classes, batch {row['batch']}, {row['precision']} on {row['device']}"
    if (row["device"], row["precision"]) == ("cpu", "bf16") and not bf16_instructions:
        return [f"{where}: this CPU has neither AMX nor AVX512-bf16, so the target does not apply"]
    held, extra = row["ours_held"], row["ours_extra"]
    peak_gb = None if extra is None else (held + extra) / 1e3
    exact = row["precision"] == "fp32"
    lines = [
        ("times faster", row["faster"], target.faster, True, ".2f"),
        ("of plain's extra peak memory", row["memory"], target.memory, False, ".3f"),
        ("GB peak memory in all", peak_gb, target.peak_gb, False, ".2f"),
        ("of the rate of matrix products", row["fraction"], RATE_TARGET if exact else None, True, ".3f"),
    ]
    return [
        f"{where}: {_verdict(what, found, wanted, more, form)}"
        for what, found, wanted, more, form in lines
        if wanted is not None
    ]


def _verdict(what: str, found: float | None, wanted: float, more: bool, form: str) -> str:
    asked = f"(target {'>=' if more else '<='} {wanted:{form}})"
    if found is None:
        return f"{what} {asked}: not measured"
    met = found >= wanted if more else found <= wanted
    return f"{found:{form}} {what} {asked}: {'met' if met else 'missed'}"


def report(args: argparse.Namespace, machine: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The table, what is missing in it, and the targets."""
    common.print_tables(machine, common.table(rows, COLUMNS | (CUDA_COLUMNS if machine["accelerator"] else {})))
    for row in rows:
        for side in row["short"]:
            print(f"\n{side} at {row['classes']} classes, batch {row['batch']}: this machine has too little memory")
    if args.targets:
        print()
        targets = [target for precision in args.precision for target in targets_of(precision, args.device)[1]]
        for row, target in zip(rows, targets, strict=True):
            print("\n".join(verdicts(row, target, machine["bf16_instructions"])))


def run(args: argparse.Namespace, size: Any = None) -> list[dict[str, Any]]:
    """Measure all rows and print them; ``size`` is CLIP's, ViT-B/16 by default."""
    wanted = rows_wanted(args)
    import torch

    from benchmarks import cases
    from benchmarks.measure import machine

    cases.check_options(args.method, args.device)
    common.use_threads(args.threads)
    about, rows = machine(args.device), []
    warm_up = 3 if args.compile or args.device != "cpu" else 0
    memory = not args.no_memory and torch.device(args.device).type in ("cpu", "cuda")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "clip.safetensors"
        cases.write_weights(weights, size or cases.Size())
        for one in wanted:
            for key in ("precision", "plain_precision"):
                one[key] = cases.resolved(one[key], args.device)
            case = cases.Case(method=args.method, device=args.device, compiled=args.compile, **one)
            plain = common.plain_wanted(args, case.classes)
            row = measure_case(case, weights, repeats=args.repeats, plain=plain, memory=memory, warm_up=warm_up)
            rows.append(row)
            common.write_json(args.json, about, rows)
            gc.collect()
    report(args, about, rows)
    return rows


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
