"""The cost of every method on one machine, as in the paper's Table 6, and against each method's plain reference.

    python benchmarks/methods.py --json benchmarks/results/methods.json    # python tools/support.py then shows it
    python benchmarks/methods.py --methods MMRL CoOp MaPLe --no-plain

ViT-B/16 at full size, random weights, ImageNet's names. A training step is measured as in train_step.py (50 classes,
batch 4), evaluation as images per second at batch 100 with the classes' features at hand. Methods that take no gradient
steps (ZeroshotCLIP, TipAdapter, LinearProbe) have no row.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common, train_step

COLUMNS = {
    "method": ("method", ""),
    "learned": ("learned parameters", ","),
    "batch": ("batch", ""),
    "ms_per_image": ("training ms/image", ",.1f"),
    "plain_ms": ("plain ms/step", ",.0f"),
    "ours_ms": ("ours ms/step", ",.1f"),
    "faster": ("faster by", ".2f"),
    "plain_launches": ("plain launches", ",d"),
    "ours_launches": ("ours launches", ",d"),
    "ours_held": ("held MB", ",.0f"),
    "ours_extra": ("extra peak MB", ",.0f"),
    "evaluated": ("images/s at 100", ",.1f"),
}
EVALUATED = 100  # images in an evaluation batch, as in Table 6


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = common.parser(str(__doc__).split("\n")[0], classes=[50], batch=[4], method=None)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="registered names (default: all)")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--no-evaluation", action="store_true", help="do not measure evaluation")
    return parser


def evaluated_per_second(case: Any, weights: Path, repeats: int) -> float:
    """Images per second of our evaluation, without autograd, in batches of 100.

    On a CPU one batch takes half a minute, so it is measured once and without a turn before it.
    """
    import dataclasses

    import torch

    from benchmarks import cases
    from benchmarks.measure import alternate
    from trainers.shared.base import autocast

    case = dataclasses.replace(case, batch=EVALUATED)
    side, (images, _) = cases.build(case, "ours", weights), cases.batch_of(case, weights)

    def score() -> None:
        with torch.no_grad(), autocast(case.precision, torch.device(case.device)):
            side.scores(images, kept, True)

    with torch.no_grad(), autocast(case.precision, torch.device(case.device)):
        kept = side.class_features()
    repeats, warm_up = (1, 0) if case.device == "cpu" else (repeats, 1)
    seconds = alternate({"ours": score}, repeats, case.device, f"{case.method}, evaluation", warm_up)
    return EVALUATED / seconds["ours"]


def measure(case: Any, weights: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One method's row."""
    from benchmarks import cases

    row = train_step.measure_case(
        case,
        weights,
        repeats=args.repeats,
        plain=common.plain_wanted(args, case.classes),
        memory=not args.no_memory and case.device != "mps",
        warm_up=0 if case.device == "cpu" else 3,
    )
    learned = cases.build(case, "ours", weights).learned.values()
    row["learned"] = sum(value.numel() for value in learned if value.requires_grad)
    gc.collect()
    row["evaluated"] = None if args.no_evaluation else evaluated_per_second(case, weights, args.repeats)
    gc.collect()
    return row


def run(args: argparse.Namespace, size: Any = None) -> list[dict[str, Any]]:
    """Measure all methods and print them; ``size`` is CLIP's, ViT-B/16 by default."""

    import reference
    from benchmarks import cases
    from benchmarks.measure import machine

    names = args.methods or reference.learning()
    for name in names:
        cases.check_options(name, args.device)
    common.use_threads(args.threads)
    about, rows = machine(args.device), []
    precision = cases.resolved(args.precision[0], args.device)
    plain = cases.resolved(args.plain_precision or args.precision[0], args.device)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "clip.safetensors"
        cases.write_weights(weights, size or cases.Size())
        for name in names:
            case = cases.Case(name, args.classes[0], args.batch[0], precision, plain, args.device)
            rows.append(measure(case, weights, args))
            common.write_json(args.json, about, rows)
    columns = COLUMNS | (train_step.CUDA_COLUMNS if about["accelerator"] else {})
    common.print_tables(about, common.table(rows, columns))
    return rows


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
