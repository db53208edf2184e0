"""Many runs: protocol x method x dataset x shots x seed x settings; what is missing of them, and carrying it out.

    python grid.py base2new --datasets digits --methods MMRL ZeroshotCLIP --seeds 1 2 3 --jobs 2
    python grid.py --suite FILE.yaml --list

docs/grid.md explains it. Exit status: 0 all done, 1 error or a run failed, 2 wrong arguments, 75 stopped by SIGTERM,
130 by Ctrl-C.
"""

from __future__ import annotations

import sys
from typing import Any

import train
from common.text import print_anything
from runs import config, record
from runs.grid import cli
from runs.grid.pool import Program

PROGRAM = Program(train.main, imports=("runs.grid.preload",))


SEEN: dict[str, Any] = {}  # the lists of data sets, which runs share


def plan(arguments: list[str]) -> record.Run:
    """The run that `train.py` would make of these arguments. Raises what it raises."""
    args = train.parse_args(arguments)
    return train.plan(config.build_cfg(args), args, SEEN)


def main() -> int:
    """The command line's whole course, errors included. Returns the exit status."""
    print_anything()
    try:
        return cli.main(sys.argv[1:], __doc__ or "", PROGRAM, plan)
    except (ValueError, OSError) as error:
        print(f"error: {train.one_line(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
