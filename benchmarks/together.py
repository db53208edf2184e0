"""Processor time and launches of three seeds in one process (`mmrl.py grid --together`), against those of one.

    python benchmarks/together.py
    python benchmarks/together.py --methods MMRL CoOp --repeats 5 --json together.json

Trains and tests each method on base classes of Digits with the embedded CLIP, as `make demo` does. "CPU s" are seconds
(user and system, one thread) of a process from its start to its end, "in runs" without the imports, which a grid on
Linux does once for all its runs. One and three take turns, and the least of each counts. Launches and GFLOP are of one
step's passes, launches as benchmarks/README.md counts them, in the layout of class prompts that an accelerator gets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from runs.environment import PROJECT

METHODS = ("MMRL", "CoOp", "KgCoOp", "MaPLe", "PromptSRC", "ZeroshotCLIP")
COLUMNS = {
    "method": ("method", ""),
    "one_whole": ("CPU s, one", ".2f"),
    "together_whole": ("together", ".2f"),
    "whole": ("ratio", ".2f"),
    "one_runs": ("in runs, one", ".2f"),
    "together_runs": ("together", ".2f"),
    "runs": ("ratio", ".2f"),
    "one_launches": ("launches, one", ",d"),
    "together_launches": ("together", ",d"),
    "launches": ("ratio", ".2f"),
    "one_gflop": ("GFLOP, one", ".2f"),
    "together_gflop": ("together", ".2f"),
}
# argv: a JSON list of runs, each a list of arguments of train.py, and a folder for what they print.
PROGRAM = """
import json, sys, time
from pathlib import Path
import runs.grid.preload
from runs import together
runs, folder, statuses, found = json.loads(sys.argv[1]), Path(sys.argv[2]), [], {}
start = time.process_time()
together.main(runs, [folder / str(i) for i in range(len(runs))], lambda _, status: statuses.append(status))
assert statuses == [0] * len(runs), (folder / "0").read_text()
found |= {"runs": time.process_time() - start, "whole": time.process_time()}
print(json.dumps(found))
"""
COUNT = """
import clip.class_prompts
from benchmarks.measure import Launches
from torch.utils.flop_counter import FlopCounterMode
from trainers.shared import seeds
clip.class_prompts.one_group = lambda device: True
passes = seeds.passes
def counted(steps):
    with FlopCounterMode(display=False) as flops, Launches() as launches:
        results = passes(steps)
    found.update(launches=launches.count, gflop=flops.get_total_flops() / 1e9)
    return results
seeds.passes = counted
"""


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Processor time of several seeds in one process, against that of one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--methods", nargs="+", default=list(METHODS), metavar="NAME", help="what to train")
    add("--seeds", type=common.positive, default=3, metavar="N", help="seeds in the process of several")
    add("--repeats", type=common.positive, default=3, metavar="N", help="measurements; the least counts")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE, after every row")
    return parser


def measure(method: str, seeds: Sequence[int], data: Path, count: bool = False) -> dict[str, Any]:
    """Return the processor seconds of a new process that trains these seeds, or launches and GFLOP of a step of them.

    Of a method that takes no step for several seeds at once neither launches nor GFLOP.
    """
    from runs.grid.expand import Grid, expand

    with tempfile.TemporaryDirectory() as folder:
        options = ["OPTIM.MAX_EPOCH", "1"] if count else []
        runs = expand([Grid("base2new", ["digits"], [method], seeds=list(seeds), options=options)])
        words = json.dumps([run.arguments(str(data), folder) for run in runs if run.model is None], allow_nan=False)
        program = PROGRAM.replace("start =", f"{COUNT}start =") if count else PROGRAM
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-c", program, words, folder]
        found = json.loads(
            subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        )
    return {key: found.get(key) for key in ("launches", "gflop")} if count else found


def row_of(method: str, seeds: int, repeats: int, data: Path) -> dict[str, Any]:
    """Measure a method; return its row."""
    sides = {"one": [1], "together": range(1, seeds + 1)}
    times = [{side: measure(method, some, data) for side, some in sides.items()} for _ in range(repeats)]
    row: dict[str, Any] = {"method": method, "seeds": seeds}
    for side, some in sides.items():
        least = {key: min(time[side][key] for time in times) for key in ("whole", "runs")}
        row |= {f"{side}_{key}": value for key, value in (least | measure(method, some, data, count=True)).items()}
    ratios = {key: common.ratio(row[f"together_{key}"], row[f"one_{key}"]) for key in ("whole", "runs", "launches")}
    return row | ratios


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, print the table, and return its rows."""
    from benchmarks.measure import machine

    about, rows = machine("cpu"), []
    with tempfile.TemporaryDirectory() as data:
        measure("ZeroshotCLIP", [1], Path(data))  # writes Digits
        for method in args.methods:
            rows.append(row_of(method, args.seeds, args.repeats, Path(data)))
            common.write_json(args.json, about, rows)
    common.print_tables(about, common.table(rows, COLUMNS))
    return rows


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
