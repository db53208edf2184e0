"""Print Base / New / HM of base-to-new runs from their records.

    python mmrl.py table digits MMRL ZeroshotCLIP [--output output]

Only finished runs count; a seed that lacks one half, or whose halves are not of one class list, is named, never
averaged. HM is that of the two means, as in the papers.
"""

from __future__ import annotations

import argparse

from commands.compare import parser_of
from common import commandline


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    return parser_of(__doc__, "table").parse_args(argv)


def table(args: argparse.Namespace) -> int:
    """Print the table."""
    from reporting.pairs import print_table

    return print_table(args.output, args.dataset, args.methods)


main = commandline.command(parse_args, table)
