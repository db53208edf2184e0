"""The matrix of methods and plug-ins in docs/plugins.md, found by trying (``probing.py``), not typed.

python tools/plugins.py            write it between its markers
python tools/plugins.py --check    say whether it is out of date
"""

from __future__ import annotations

import argparse
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

import trainers  # noqa: E402
from tools import probing, support  # noqa: E402
from trainers.plugins import PLUGINS  # noqa: E402

PAGE = "docs/plugins.md"
Found = Mapping[str, str]  # by title, such as CoOp+DePT, what the refusal says; "" where it runs


def probe() -> Found:
    """Try every method with every plug-in: a step and scores, on toy towers."""
    titles = [f"{method}+{plugin}" for method in trainers.METHODS for plugin in PLUGINS]
    return {title: probing.probe_plugin(title, torch.device("cpu")) for title in titles}


def without_method(title: str, reason: str) -> str:
    """Return what a refusal says, with dots for the method's name."""
    return reason.replace(title.partition("+")[0], "...")


def matrix(found: Found) -> str:
    """Return the table, and below it what refusals say, by the letter that stands for each in the table."""
    said = {title: without_method(title, reason) for title, reason in found.items() if reason}
    letters = dict(zip(dict.fromkeys(said.values()), string.ascii_lowercase, strict=False))
    cells = {title: f"no ({letters[said[title]]})" if title in said else "yes" for title in found}
    rows = [[f"`{method}`", *(cells[f"{method}+{name}"] for name in PLUGINS)] for method in trainers.METHODS]
    reasons = [f'- ({letter}) "{reason}"' for reason, letter in letters.items()]
    return "\n".join([support.as_markdown(rows, ["method", *PLUGINS]), "", "What a refusal says:", "", *reasons])


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is out of date")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    return support.update(PAGE, matrix(probe()), args.check, "python tools/plugins.py")


if __name__ == "__main__":
    sys.exit(main())
