"""CoOp's result parser: mean and spread over seeds, from the runs' `log.txt` alone."""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import commandline

TRAINED = ("Finish training", "Finished training")
TESTED = ("=> result",)
USUAL_SEEDS = (1, 2, 3)


@dataclass
class Log:
    """A run's log: `value` is the last result after the end signal; where there is none, `lacks` says why."""

    path: Path
    value: float | None
    lacks: str = ""


def read_log(folder: Path, keyword: str, end_signals: tuple[str, ...]) -> Log:
    """Read one run's log. Public Dassl starts `log.txt-DATE` when a folder is used again: the latest result counts."""
    result = re.compile(rf"\* {re.escape(keyword)}: ([\d.eE+-]+|nan)%")
    last = Log(folder / "log.txt", None, "no log.txt")
    for path in sorted(folder.glob("log.txt*")):
        ended, value = False, None
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            ended = ended or line.strip() in end_signals
            match = result.search(line)
            if match and ended:
                value = float(match.group(1))
        if value is not None or last.value is None:
            last = Log(path, value, "" if value is not None else "no result" if ended else "unfinished")
    return last


def runs_in(directory: Path) -> list[Path]:
    """Return the folders of single runs in `directory`: its subfolders, or itself when it holds a log."""
    folders = [path for path in sorted(directory.iterdir(), key=_natural) if path.is_dir() and path.name[0] != "."]
    return [directory] if not folders and (directory / "log.txt").is_file() else folders


def parse(directory: Path, args: argparse.Namespace) -> float | None:
    """Print the results of one folder of seeds and their mean. Returns the mean, None without any result."""
    print(f"Parsing files in {directory}")
    end_signals = TESTED if args.test_log else TRAINED
    logs = [read_log(folder, args.keyword, end_signals) for folder in runs_in(directory)]
    values = [log.value for log in logs if log.value is not None]
    for log in logs:
        if log.value is not None:
            print(f"file: {log.path}. {args.keyword}: {log.value:.2f}%. ")
    print("===")
    print(f"Summary of directory: {directory}")
    if values:
        spread = statistics.pstdev(values)
        if args.ci95:
            spread *= 1.96 / len(values) ** 0.5
        print(f"* {args.keyword}: {statistics.fmean(values):.2f}% +- {spread:.2f}%")
    for line in account(logs):
        print(line)
    print("===")
    return statistics.fmean(values) if values else None


def account(logs: list[Log]) -> Iterator[str]:
    """Yield lines on the seeds that count, those that do not and why, and those that are not there."""
    names = {log.path.parent.name: log for log in logs}
    counted = [name for name, log in names.items() if log.value is not None]
    yield f"Seeds that count: {', '.join(counted) or 'none'} ({len(counted)} of {len(logs)} found)"
    for name, log in names.items():
        if log.value is None:
            yield f"Left out: {name} ({log.lacks})"
    numbers = {int(match.group(1)) for match in (re.fullmatch(r"seed(\d+)", name) for name in names) if match}
    if numbers:
        usual = set(range(min(numbers), max(numbers))) | (set() if 0 in numbers else set(USUAL_SEEDS))
        missing = [f"seed{number}" for number in sorted(usual - numbers)]
        if missing:
            yield f"Missing: {', '.join(missing)}"


def parse_all(directory: Path, args: argparse.Namespace) -> bool:
    """Print the results of each experiment in `directory` and their average. Returns whether there is any."""
    means: list[float] = []
    without: list[str] = []
    for experiment in runs_in(directory):
        mean = parse(experiment, args)
        print()
        if mean is None:
            without.append(experiment.name)
        else:
            means.append(mean)
    print("Average performance")
    if means:
        print(f"* {args.keyword}: {statistics.fmean(means):.2f}%")
    if without:
        print(f"Left out of the average, without any result: {', '.join(without)}")
    return bool(means)


def parse_args(doc: str | None, argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of parse_test_res.py, whose docstring is `doc`."""
    parser = commandline.parser(doc)
    add = parser.add_argument
    add("directory", type=Path, help="folder of seeds (with --multi-exp: folder of such folders)")
    add("--ci95", action="store_true", help="95%% confidence interval instead of the standard deviation")
    add("--test-log", action="store_true", help="the logs are of test-only runs")
    add("--multi-exp", action="store_true", help="parse several experiments and average them")
    add("--keyword", default="accuracy", help="which result: accuracy (default), error, macro_f1")
    return parser.parse_args(argv)


def main(doc: str | None, argv: list[str] | None = None) -> int:
    """Carry out parse_test_res.py, whose docstring is `doc`. Returns 1 when no result is found."""
    args = parse_args(doc, argv)
    return commandline.run(lambda: show(args))


def show(args: argparse.Namespace) -> int:
    """Print what is asked for. Returns 0; raises FileNotFoundError or ValueError where there is no result."""
    if not args.directory.is_dir():
        raise FileNotFoundError(f"there is no folder {args.directory}")
    found = parse_all(args.directory, args) if args.multi_exp else parse(args.directory, args) is not None
    if not found:
        raise ValueError(f"no result ({args.keyword}) in any log below {args.directory}")
    return 0


def _natural(path: Path) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name)]
