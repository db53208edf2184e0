"""The table of methods in docs/methods.md, found by trying (``probing.py``), not typed.

    python tools/support.py                  write it between its markers
    python tools/support.py --check          say whether it is out of date
    python tools/support.py --device cuda    try on CUDA, amp included, and print the table

Times are not tried here: they are those of a file of ``benchmarks/methods.py --json``, benchmarks/results/methods.json.
What that file lacks, or all without it, is a dash, and the line below the table says so.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import reference  # noqa: E402
import trainers  # noqa: E402
from benchmarks.common import told  # noqa: E402
from tools import probing  # noqa: E402
from tools.golden import method_of  # noqa: E402

BEGIN, END = "<!-- methods:begin -->", "<!-- methods:end -->"
TIMES = ROOT / "benchmarks" / "results" / "methods.json"
MEASURE = "`python benchmarks/methods.py --json benchmarks/results/methods.json`"
NOTHING = "-"


@dataclass(frozen=True)
class Proof:
    """What holds a method's numbers: the plain reference that it is compared with, and golden files."""

    reference: str  # file in reference/
    golden: tuple[str, ...]  # files in tests/trainers/data


def proofs() -> dict[str, Proof]:
    """Return what holds the numbers of each method."""
    files: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests" / "trainers" / "data").glob("*.json")):
        files.setdefault(method_of(json.loads(path.read_text(encoding="utf-8"))), []).append(path.name)
    return {one: Proof(reference.module_of(one), tuple(files.get(one, ()))) for one in trainers.METHODS}


@dataclass(frozen=True)
class Times:
    """What ``benchmarks/methods.py --json`` wrote: a row by method, the machine, its command; empty without a file."""

    rows: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()

    @classmethod
    def read(cls, path: Path) -> Times:
        """From a file, if it is there. Raises ValueError naming a file that is not one of that program."""
        if not path.is_file():
            return cls()
        try:
            file = json.loads(path.read_text(encoding="utf-8"))
            found = cls({row["method"]: row for row in file["rows"]}, file["machine"], file["command"])
            for text in (found.said(), *map(timed, found.rows.values())):
                assert text
        except (ValueError, KeyError, TypeError) as problem:
            raise ValueError(f"{path} is not what {MEASURE} writes: {problem!r}") from problem
        return found

    def said(self) -> str:
        """A line on the numbers: what was measured, and on what."""
        if not self.rows:
            return f"Times (ms/image, plain, faster by): not measured yet; {MEASURE} does it."
        one = next(iter(self.rows.values()))
        size = f"{one['classes']} classes, batch {one['batch']}, {one['precision']}"
        return (
            f"Times: ms per training image of ours and of the plain reference, ViT-B/16, {size}, on "
            f"{told(self.machine)} (`{shlex.join(['python', *self.command])}`). A dash: not measured."
        )


def title(method: str) -> str:
    """The registered name, and its aliases in brackets."""
    others = [alias for alias, name in trainers.ALIASES.items() if name == method]
    return f"`{method}`" + (f" ({', '.join(others)})" if others else "")


def learned(found: probing.Found) -> str:
    """The number of learned parameters; what is fitted without steps says so."""
    if found.learned:
        return f"{found.learned:,}"
    return f"{found.fitted:,} fitted" if found.fitted else "none"


def timed(row: Mapping[str, Any] | None) -> list[str]:
    """Ours and the plain reference's ms per training image, and their ratio."""
    if row is None:
        return [NOTHING] * 3
    ours, plain = row["ms_per_image"], row["plain_ms"]
    if plain is None:
        return [f"{ours:,.1f}", NOTHING, NOTHING]
    return [f"{ours:,.1f}", f"{plain / row['batch']:,.0f}", f"{row['faster']:.1f}"]


def full_table(found: Mapping[str, probing.Found], measured: Times) -> str:
    """Return the table, with what was measured and the reasons for what does not work below it."""
    heads = ["method", "learned", "protocols", "precision", "image tower", "towers of unequal depth", "equations"]
    heads += ["golden", "ms/image", "plain", "faster by"]
    rows, proven = [], proofs()
    for method, one in found.items():
        deeper = one.towers["deeper image tower"]
        proof = proven[method]
        rows.append(
            [
                title(method),
                learned(one),
                "few-shot" if one.new_classes else "base to new, cross-dataset, few-shot",
                " ".join(one.precisions),
                "ViT only" if one.towers["ResNet"] else "ViT, ResNet",
                "yes" if not deeper else f"with `{deeper.removeprefix('with ')}`" if deeper[:5] == "with " else "no",
                f"`{proof.reference}`",
                ", ".join(f"`{name.removesuffix('.json')}`" for name in proof.golden) or NOTHING,
                *timed(measured.rows.get(method)),
            ]
        )
    return "\n\n".join([as_markdown(rows, heads), measured.said(), reasons(found)])


def reasons(found: Mapping[str, probing.Found]) -> str:
    """What the methods say where they refuse, each sentence once, as a list."""
    said: dict[str, list[str]] = {}
    for method, one in found.items():
        refused = [reason for reason in one.towers.values() if reason and not reason.startswith("with ")]
        for reason in filter(None, (one.new_classes, *refused)):
            said.setdefault(re.sub(r"^\S+( \(.*?\))?(?= (needs|cannot))", "...", reason), []).append(method)
    lines = [f'- {", ".join(dict.fromkeys(methods))}: "{reason}"' for reason, methods in said.items()]
    return "\n".join(["What a refusal says:", "", *lines])


def as_markdown(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """A pipe table."""
    return tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)


PAGE = "docs/methods.md"


def put(text: str, block: str, page: str = PAGE) -> str:
    """``text`` with ``block`` between the markers. Raises ValueError where they are not there once, in order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{page} must hold {BEGIN} and {END} once, in this order")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def update(page: str, block: str, check: bool, command: str) -> int:
    """Write ``block`` into a page, or with ``check`` only say whether that is needed; return the exit status."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    new = put(text, block, page)
    if new == text:
        return 0
    print(f"{page}: {f'out of date, run {command}' if check else 'written'}")
    if not check:
        path.write_text(new, encoding="utf-8")
    return int(check)


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is out of date")
    parser.add_argument("--device", default="cpu", help="where to try; the page is of the CPU")
    parser.add_argument("--times", type=Path, default=TIMES, metavar="FILE", help="of benchmarks/methods.py --json")
    args = parser.parse_args(argv)
    try:
        measured = Times.read(args.times)
    except ValueError as problem:
        sys.exit(f"error: {problem}")
    found = {method: probing.probe(method, torch.device(args.device)) for method in trainers.METHODS}
    if args.device != "cpu":
        print(full_table(found, measured))
        return 0
    return update(PAGE, full_table(found, measured), args.check, "python tools/support.py")


if __name__ == "__main__":
    sys.exit(main())
