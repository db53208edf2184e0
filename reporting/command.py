"""What `python mmrl.py report` does with its arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import trainers
from reporting.changes import as_json
from reporting.load.gather import Gathered
from reporting.names import check_names
from reporting.report import Report, Request, build
from reporting.write import write
from runs.config import default_cfg, flatten
from runs.protocols import PROTOCOLS, dataset_names

SHOWN = 5  # commands on the terminal; all are in the report


def request_of(args: argparse.Namespace, found: Gathered) -> Request:
    """Return what is asked for. Raises ValueError for a name that is unknown (with the nearest) or given twice."""
    keys = [*(result.key for result in found.results), *found.expected]
    to, *named = (trainers.full_title(name) for name in (args.to, *args.methods, *args.order))
    methods, order = named[: len(args.methods)], named[len(args.methods) :]
    known = {*trainers.METHODS, *(key.row.method for key in keys)}
    check_names("protocol", args.protocols, PROTOCOLS)
    check_names("method", methods, known)
    check_names("method", order, known)
    check_names("method", [to], known)
    check_names("dataset", args.datasets, {*dataset_names(), *(key.dataset for key in keys)})
    seeds = args.seeds or []
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise ValueError(f"--seeds: given twice: {', '.join(map(str, twice))}")
    return Request(to, args.paper, args.protocols, methods, args.datasets, seeds, args.title, order)


def main(args: argparse.Namespace, found: Gathered) -> int:
    """Write the report of what was found, and say what came of it.

    Returns 1 if a cell was refused or a file is damaged, else 0.

    Raises:
        ValueError, OSError: bad input, in one line.
    """
    report = build(found, request_of(args, found), defaults())
    out = args.out or args.outputs[0] / "report"
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"cannot write into {out}: it is a file")
    files = write(report, out)
    tell(report, out, len(files))
    return 1 if report.problems else 0


def tell(report: Report, out: Path, files: int) -> None:
    """Print where the report is, what is wrong and what is missing."""
    print(report.about[-2])
    for line in report.problems:
        print(f"error: {line}", file=sys.stderr)
    for line in [*report.unfinished, *report.notes]:
        print(f"note: {line}", file=sys.stderr)
    if report.missing:
        print("Missing; to fill it:")
        for runs in report.missing[:SHOWN]:
            print(f"  {runs.command()}")
        if len(report.missing) > SHOWN:
            print(f"  ... and {len(report.missing) - SHOWN} more commands, in the report")
    print(f"{len(report.tables)} tables, {len(report.plots)} plots, {files} files: {out / 'report.html'}")


def defaults() -> dict[str, object]:
    """Return the value of each setting where nothing sets it."""
    return dict(as_json(dict(flatten(default_cfg()))))
