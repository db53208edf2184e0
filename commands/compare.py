"""Compare methods on the same splits: base to new over seeds, and paired differences.

    python mmrl.py compare digits MMRL CoOp MaPLe --seeds 1 2 3 [--to MMRL] [--output output]

Means and standard deviations are over the seeds asked for. HM is that of the two means, as in the papers; the
difference is the mean over seeds of a method's HM less the other's, with its 95 % confidence interval (Student's t).
A row that lacks seeds is marked and says how many it has; it is compared on the seeds that both have. Halves that are
not of one class list are no pair, and rows that were tested on different images are not compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import commandline


def parser_of(doc: str | None, command: str) -> argparse.ArgumentParser:
    """Return a parser of what `compare` and `table` both take: a data set, methods, and the folder of all runs."""
    parser = commandline.parser(doc, prog=f"python mmrl.py {command}")
    parser.add_argument("dataset", help="dataset configuration, such as digits")
    parser.add_argument("methods", nargs="+", help="methods, one or more rows each, in the order of the table")
    parser.add_argument("--output", default="output", type=Path, help="folder of all runs (default: output)")
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = parser_of(__doc__, "compare")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="seeds (default: 1 2 3)")
    parser.add_argument("--to", default="MMRL", help="the method that others are compared to (default: MMRL)")
    return parser.parse_args(argv)


def compare(args: argparse.Namespace) -> int:
    """Print the table."""
    from reporting.pairs import print_comparison

    return print_comparison(args.output, args.dataset, args.methods, args.seeds, args.to)


main = commandline.command(parse_args, compare)
