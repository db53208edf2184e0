"""Launches of a training step of every method, against its plain reference.

    python benchmarks/launches.py --classes 50 --batch 4

Counted on the CPU in narrow towers of ViT-B/16's depth and several heads, where the width does not matter; ours both in
the layout of class prompts that an accelerator gets and in a CPU's. benchmarks/README.md says what counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common, train_step

COLUMNS = {
    "method": ("method", ""),
    "plain_launches": ("plain", ",d"),
    "ours_launches": ("ours", ",d"),
    "launches": ("ours/plain", ".2f"),
    "cpu_launches": ("ours in a CPU's layout", ",d"),
}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0], allow_abbrev=False)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="registered names (default: all)")
    parser.add_argument("--classes", type=common.positive, default=50, metavar="C", help="classes (default: 50)")
    parser.add_argument("--batch", type=common.positive, default=4, metavar="B", help="batch size (default: 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts to FILE")
    return parser


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Count all methods' launches and print them."""
    import reference
    from benchmarks import cases
    from benchmarks.measure import machine

    names, rows = args.methods or reference.learning(), []
    for name in names:
        cases.check_options(name, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "clip.safetensors"
        cases.write_weights(weights, cases.Size(embed=64, res=32, vision=(128, 12), text=(128, 12)))
        for name in names:
            case = cases.Case(name, args.classes, args.batch, "fp32", "fp32", "cpu")
            row: dict[str, Any] = {"method": name, "classes": args.classes, "batch": args.batch}
            for key, side, accelerator in (("plain", "plain", True), ("ours", "ours", True), ("cpu", "ours", False)):
                with mock.patch("clip.layers.waits_for_launches", return_value=accelerator):
                    found = train_step.first_step(cases.step_of(case, side, weights))
                row |= {f"{key}_{name}": value for name, value in found.items()}
            rows.append(row | {"launches": common.ratio(row["ours_launches"], row["plain_launches"])})
            common.write_json(args.json, machine("cpu"), rows)
    print(common.table(rows, COLUMNS))
    return rows


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
