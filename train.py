"""Train and test one run: one method on one dataset with one seed. `python train.py -h` explains the arguments."""

from __future__ import annotations

import sys

from runs.arguments import parse_args
from runs.execute import main

__all__ = ["main", "parse_args"]

if __name__ == "__main__":
    sys.exit(main())
