"""Images per second in evaluation and the time of text encoding, against the plain reference of the tests.

    python benchmarks/inference.py --precision fp32 bf16 --plain-precision fp32

ViT-B/16 at full size, random weights. Text features are computed once and kept, as in an evaluation. Both sides take
turns in one process (medians), after a check that they give the same scores. benchmarks/README.md explains the columns.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common

HEAD = {
    "method": ("method", ""),
    "classes": ("classes", ","),
    "precision": ("precision", ""),
    "plain_precision": ("plain precision", ""),
    "device": ("device", ""),
}
TAIL = {
    "gflop": ("GFLOP ours", ",.1f"),
    "rate": ("products GFLOP/s", ",.0f"),
    "fraction": ("of that rate", ".1%"),
}
IMAGES = {
    **HEAD,
    "features": ("features", ""),
    "batch": ("batch", ""),
    "plain": ("images/s plain", ",.1f"),
    "ours": ("images/s ours", ",.1f"),
    "faster": ("faster by", ".2f"),
    "clip_fp16": ("images/s plain CLIP fp16", ",.1f"),
    **TAIL,
}
TEXTS = {
    **HEAD,
    "plain": ("ms text plain", ",.0f"),
    "ours": ("ms text ours", ",.1f"),
    "faster": ("faster by", ".2f"),
    **TAIL,
}
FEATURES = {"class": False, "class and representation": True}
# By device and precision: how many times faster than plain in float32 (CPU), than a plain CLIP in half (CUDA).
TARGETS = {("cpu", "fp32"): ("faster", 1.15), ("cpu", "bf16"): ("faster", 3.3)} | {
    ("cuda", precision): ("faster_than_clip", 1.0) for precision in ("amp", "fp16")
}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = common.parser(str(__doc__).split("\n")[0], classes=[100], batch=[100])
    parser.add_argument("--targets", action="store_true", help="print whether each row meets its target")
    return parser


def measure_case(
    case: Any, weights: Path, *, repeats: int, plain: bool, warm_up: int = 0
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the images' table, one per kind of feature, and the row of the texts' table."""
    import torch

    from benchmarks import cases
    from benchmarks.measure import MatrixProducts, alternate, count_flops
    from trainers.shared.base import autocast, in_passes

    title = f"{case.method}, {case.classes} classes, batch {case.batch}, {case.precision}"
    common.log(f"{title}: first batch")
    images, _ = cases.batch_of(case, weights)
    sides = {side: cases.build(case, side, weights) for side in (["plain", "ours"] if plain else ["ours"])}

    def encode(side: str) -> torch.Tensor:
        with torch.no_grad(), autocast(case.precision_of(side), torch.device(case.device)):
            return sides[side].class_features()

    kept = {side: encode(side) for side in sides}

    def score(side: str, both: bool) -> torch.Tensor:
        with torch.no_grad(), autocast(case.precision_of(side), torch.device(case.device)):
            if side == "plain":
                return sides[side].scores(images, kept[side], both)
            return in_passes(lambda part: sides[side].scores(part, kept[side], both), images)  # as a trainer does

    if plain:
        exact = case.precision == case.plain_precision == "fp32"
        for both in FEATURES.values():
            cases.check_same_scores(score("ours", both), score("plain", both), exact)
    products = MatrixProducts(case.precision, case.device)
    calls: dict[str, Any] = {"products": products}
    calls |= {f"ours {name}": lambda both=both: score("ours", both) for name, both in FEATURES.items()}
    if plain:
        calls["plain"] = lambda: score("plain", True)
    if torch.device(case.device).type == "cuda":
        calls["clip"] = cases.plain_clip_in_half(weights, case.device, images)
    seconds = alternate(calls, repeats, case.device, f"{title}, images", warm_up)
    rate = products.flops / seconds["products"]
    rows = []
    for name, both in FEATURES.items():
        flops = count_flops(lambda both=both: score("ours", both))  # type: ignore[misc]
        row = _row(case, seconds[f"ours {name}"], seconds.get("plain"), flops, rate)
        row |= {"features": name, "ours": case.batch / seconds[f"ours {name}"]}
        row["plain"] = case.batch / seconds["plain"] if plain else None
        row["clip_fp16"] = case.batch / seconds["clip"] if "clip" in seconds else None
        rows.append(row | {"faster_than_clip": common.ratio(row["ours"], row["clip_fp16"])})
    calls = {side: lambda side=side: encode(side) for side in sides} | {"products": products}
    seconds = alternate(calls, repeats, case.device, f"{title}, texts", warm_up)
    flops = count_flops(calls["ours"])
    text = _row(case, seconds["ours"], seconds.get("plain"), flops, products.flops / seconds["products"])
    text["features"] = "text"
    text |= {side: seconds[side] * 1e3 if side in seconds else None for side in ("ours", "plain")}
    return rows, text


def _row(case: Any, ours: float, plain: float | None, flops: int, rate: float) -> dict[str, Any]:
    return asdict(case) | {
        "faster": common.ratio(plain, ours),
        "gflop": flops / 1e9,
        "rate": rate / 1e9,
        "fraction": flops / (ours * rate),
    }


def verdict(row: dict[str, Any], bf16_instructions: bool) -> str:
    """What was measured, what was wanted, met or missed."""
    kind = row["device"].split(":")[0]
    where = f"{row['features']} features, batch {row['batch']}, {row['precision']} on {row['device']}"
    if (kind, row["precision"]) not in TARGETS:
        return f"{where}: no target"
    if (kind, row["precision"]) == ("cpu", "bf16") and not bf16_instructions:
        return f"{where}: this CPU has neither AMX nor AVX512-bf16, so the target does not apply"
    key, wanted = TARGETS[kind, row["precision"]]
    than = "plain CLIP in half precision" if key == "faster_than_clip" else f"plain in {row['plain_precision']}"
    if row[key] is None:
        return f"{where}: against {than} (target >= {wanted}): not measured"
    met = "met" if row[key] >= wanted else "missed"
    return f"{where}: {row[key]:.2f} times faster than {than} (target >= {wanted}): {met}"


def run(args: argparse.Namespace, size: Any = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure all rows and print both tables; ``size`` is CLIP's, ViT-B/16 by default."""

    from benchmarks import cases
    from benchmarks.measure import machine

    cases.check_options(args.method, args.device)
    common.use_threads(args.threads)
    about = machine(args.device)
    images: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    # The targets on a CPU compare with float32.
    against = args.plain_precision or ("fp32" if args.targets and args.device == "cpu" else None)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "clip.safetensors"
        cases.write_weights(weights, size or cases.Size())
        for precision, classes, batch in itertools.product(args.precision, args.classes, args.batch):
            runs, plain_runs = (cases.resolved(p, args.device) for p in (precision, against or precision))
            case = cases.Case(args.method, classes, batch, runs, plain_runs, args.device)
            rows, text = measure_case(
                case,
                weights,
                repeats=args.repeats,
                plain=common.plain_wanted(args, classes),
                warm_up=0 if args.device == "cpu" else 3,
            )
            images += rows
            texts.append(text)
            common.write_json(args.json, about, [*images, *texts])
            gc.collect()
    common.print_tables(about, common.table(images, IMAGES), common.table(texts, TEXTS))
    if args.targets:
        print("\n" + "\n".join(verdict(row, about["bf16_instructions"]) for row in images))
    return images, texts


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
