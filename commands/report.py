"""Tables and figures from runs: what the paper shows, for every run that is there.

    python report.py                          # of the runs in output/
    python report.py OUTPUT --paper           # beside the published numbers
    python report.py ours theirs --out DIR --to CoOp --seeds 1 2 3

It reads the records of this project's runs and the logs of other repositories of the CoOp family, and writes
report.html, report.md, and each table and plot. docs/report.md explains it. Exit status: 0 written, 1 error, or
written without cells that were refused or files that are damaged, 2 wrong arguments.
"""

from __future__ import annotations

import sys

from common.text import print_anything
from reporting import command


def main() -> int:
    """The command line's whole course, errors included. Returns the exit status."""
    print_anything()
    try:
        return command.main(sys.argv[1:], __doc__ or "")
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
