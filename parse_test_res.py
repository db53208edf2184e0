"""Mean and spread over seeds, from the runs' log.txt.

A folder of seeds, each with a log.txt:

    python parse_test_res.py output/base2new/train_base/digits/shots_16/MMRL/embedded
    python parse_test_res.py output/base2new/test_new/digits/shots_16/MMRL/embedded --test-log

A folder of such folders (one per dataset or setting), with the average over them:

    python parse_test_res.py output/some_experiment --multi-exp

It reads the logs of the public CoOp, MaPLe and MMRL repositories too. A training log counts when training came
to its end; --test-log is for logs of --eval-only runs, which have no such line.
"""

from __future__ import annotations

import sys

from reporting import seed_means


def main(argv: list[str] | None = None) -> int:
    """Print the results. Returns the exit status."""
    return seed_means.main(__doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
