"""What the benchmarks share before torch is needed: options, tables, files."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from common import files
from dassl.cores import limit_threads

PRECISIONS = ("fp32", "fp16", "amp", "bf16")
NOTHING = "-"  # in a table: not measured


def positive(text: str) -> int:
    """An option's value of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def parser(
    description: str, classes: Sequence[int], batch: Sequence[int], method: str | None = "MMRL"
) -> argparse.ArgumentParser:
    """The options that the benchmarks share; without ``method`` there is no option for one."""
    options = argparse.ArgumentParser(description=description, formatter_class=_Help, allow_abbrev=False)
    add = options.add_argument
    add("--classes", type=positive, nargs="+", default=list(classes), metavar="C", help="numbers of classes")
    add("--batch", type=positive, nargs="+", default=list(batch), metavar="B", help="batch sizes")
    add("--precision", choices=PRECISIONS, nargs="+", default=["fp32"], help="precisions of our path")
    add("--plain-precision", choices=PRECISIONS, help="precision of the plain reference (default: ours)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    if method is not None:
        add("--method", default=method, help="registered name of the method")
    add("--repeats", type=positive, default=5, metavar="N", help="measurements of each side; the median counts")
    add("--threads", type=positive, metavar="N", help="threads on the CPU (default: one for each processor there is)")
    add("--plain-up-to", type=positive, default=1000, metavar="C", help="the most classes for which plain is measured")
    add("--no-plain", action="store_true", help="do not measure the plain reference")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE, after every row")
    return options


def program(
    options: Callable[[], argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], object],
    argv: Sequence[str] | None = None,
) -> None:
    """Run a benchmark by its words (default: those of the command line); an error ends it in one line."""
    try:
        run(options().parse_args(argv))
    except (ValueError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


def use_threads(count: int | None) -> None:
    """Let torch use so many threads on the CPU, or those there may be."""
    import torch

    if count is None:
        limit_threads()
    else:
        torch.set_num_threads(count)


def plain_wanted(args: argparse.Namespace, classes: int) -> bool:
    """Whether the options ask for the plain reference at this number of classes."""
    return not args.no_plain and classes <= args.plain_up_to


def log(line: str) -> None:
    """A line on stderr that does not break a progress bar."""
    tqdm.write(line, file=sys.stderr)


def ratio(above: float | None, below: float | None) -> float | None:
    """``above / below`` where both were measured."""
    return None if above is None or below is None else above / below


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]) -> str:
    """Rows as a Markdown table; ``columns`` maps a row's key to the head and the format of its cells."""
    cells = [[_cell(row[key], form) for key, (_, form) in columns.items()] for row in rows]
    heads = [head for head, _ in columns.values()]
    return tabulate(cells, heads, tablefmt="pipe", disable_numparse=True, stralign="right")


def _cell(value: Any, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def write_json(path: Path | None, machine: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Command, machine and rows; a reader never sees half a file. Does nothing without a path."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"command": sys.argv, "machine": machine, "rows": rows})


def told(machine: Mapping[str, Any]) -> str:
    """A machine, as ``measure.machine`` has it, in words."""
    facts = [machine["accelerator"]] if machine["accelerator"] else []
    return "; ".join([*facts, f"{machine['processor']}, {machine['threads']} threads", f"torch {machine['torch']}"])


def print_tables(machine: Mapping[str, Any], *tables: str) -> None:
    """The machine's line, then the tables, on stdout."""
    print(told(machine))
    for text in tables:
        print(f"\n{text}")
