"""Many runs: protocol x method x dataset x shots x seed x settings; what is missing of them, and carrying it out.

    python grid.py base2new --datasets digits --methods MMRL ZeroshotCLIP --seeds 1 2 3 --jobs 2
    python grid.py --suite FILE.yaml --list

docs/grid.md explains it. Exit status: 0 all done, 1 error or a run failed, 2 wrong arguments, 75 stopped by SIGTERM,
130 by Ctrl-C.
"""

from __future__ import annotations

import sys

import train
from datasets.text import print_anything
from runs import config, record
from runs.grid import cli
from runs.grid.pool import Program

PROGRAM = Program(train.main, imports=("runs.grid.preload",))


def plan(arguments: list[str]) -> record.Run:
    """The run that `train.py` would make of these arguments. Raises what it raises."""
    args = train.parse_args(arguments)
    cfg = config.build_cfg(args)
    identity, about = train.identify(cfg, args), train.describe(cfg, args)
    return record.Run(cfg.OUTPUT_DIR, identity, about, config.identity_defaults(cfg))


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
