"""Write tables and figures from runs: what the paper shows, for every run that is there.

    python mmrl.py report                          # of the runs in output/
    python mmrl.py report OUTPUT --paper           # beside the published numbers
    python mmrl.py report ours theirs --out DIR --to CoOp --seeds 1 2 3

It reads the records of this project's runs and the logs of other repositories of the CoOp family, and writes
report.html, report.md, and each table and plot. docs/report.md explains it. Exit status: 0 written, 1 error, or
written without cells that were refused or files that are damaged, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from common import commandline
from runs.protocols import PROTOCOLS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py report", short=True)
    add = parser.add_argument
    add("outputs", nargs="*", type=Path, metavar="OUTPUT", help="folders of runs (default: $OUTPUT, else output)")
    add("--out", type=Path, metavar="DIR", help="folder of the report (default: report in the first OUTPUT)")
    add("--title", default="Report", metavar="TEXT", help="the report's heading")
    add("--paper", action="store_true", help="add the published numbers and the gap to them")
    add("--to", default="MMRL", metavar="METHOD", help="the method that others are compared to (default: MMRL)")
    add(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="seeds that count (default: 1 2 3, or all where there are others)",
    )
    add("--protocols", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(PROTOCOLS)} (default: all)")
    add("--methods", nargs="+", default=[], metavar="NAME", help="only these; one that has not run shows as missing")
    add("--order", nargs="+", default=[], metavar="NAME", help="methods whose rows come first, in this order")
    add("--datasets", nargs="+", default=[], metavar="NAME", help="only these; one that has not run shows as missing")
    args = parser.parse_args(argv)
    args.outputs = args.outputs or [Path(os.environ.get("OUTPUT") or "output")]
    return args


def report(args: argparse.Namespace) -> int:
    """Read, write, and say what came of it."""
    from reporting.load.gather import gather

    found = gather(args.outputs)
    from reporting import command  # with matplotlib: not before it is known that there are runs

    return command.main(args, found)


main = commandline.command(parse_args, report)
