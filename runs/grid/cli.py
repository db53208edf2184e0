"""What `python mmrl.py grid` does with its arguments: expand, list, carry out, report."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from runs import config, engine, execute, record, scripts, together
from runs.arguments import parse_args
from runs.environment import PROJECT
from runs.grid import cluster
from runs.grid.expand import Grid, expand, shard, split_values
from runs.grid.pool import Folders, Outcome, Pool, Program, slots_for
from runs.grid.state import STATES, look
from runs.grid.suite import make_grid, read_suite
from runs.plan import plan as make_plan
from runs.protocols import Run

STOPPED = {75: "stopped", 130: "stopped", -signal.SIGTERM: "stopped"}


PROGRAM = Program(execute.main, imports=("runs.grid.preload",))
TOGETHER = replace(PROGRAM, together=together.main)
SEEN: dict[str, Any] = {}  # the lists of data sets, which runs share


def plan(arguments: list[str]) -> record.Run:
    """Return the run that `train.py` would make of these arguments. Raises what it raises."""
    args = parse_args(arguments)
    return make_plan(config.build_cfg(args), args, SEEN)


def main(args: argparse.Namespace) -> int:
    """Expand the grids that `args` (of `commands.grid`) ask for, and list or carry out; return the exit status.

    Raises:
        ValueError, FileNotFoundError: bad input, in one line.
    """
    data, output = scripts.folders(os.environ)
    folders = Folders(args.root or data, args.output or output)
    runs = expand(grids_of(args))
    part = part_of(args.shard, os.environ)
    if part:
        runs = shard(runs, *part, together=args.together)
        print(f"Part {part[0]} of {part[1]}: {len(runs)} runs")
    bar = tqdm(runs, desc="Looking at runs and their data", unit="run", delay=2, leave=False, disable=None)
    states = {run: look(folders.folder(run), folders.arguments(run), plan) for run in bar}
    undone = [run for run in runs if states[run][0] != "done"]
    if args.dry_run:
        for run in undone:
            print(shlex.join([os.environ.get("PYTHON", "python"), str(PROJECT / "train.py"), *folders.arguments(run)]))
        return 0
    if args.list or args.missing:
        print_states({run: states[run] for run in (undone if args.missing else runs)}, folders)
        return 1 if args.missing and undone else 0
    if not args.root:
        scripts.make_data_folder((run.dataset for run in undone), os.environ)
    report = Report(len(runs), len(runs) - len(undone), folders)
    with report.bar:
        status = carry_out(args, undone, folders, report)
    failed = report.close()
    return status or failed


def grids_of(args: argparse.Namespace) -> list[Grid]:
    """Return the grids that the command line asks for. Raises ValueError naming what is wrong."""
    given = {
        key: value
        for key in ("datasets", "methods", "shots", "seeds", "source", "cfg")
        if (value := getattr(args, key)) is not None
    }
    changes: dict[str, Any] = {}
    for text in args.set:
        key, sign, values = text.partition("=")
        if not sign:
            raise ValueError(f"--set takes KEY=VALUE,VALUE,..., not {text}")
        if key in changes:
            raise ValueError(f"--set {key} is given twice: give all its values at once")
        changes[key] = split_values(values)
    if changes:
        given["set"] = changes
    for key, value in args.options:
        first = given.setdefault("options", {}).setdefault(key, value)
        if first != value:
            raise ValueError(f"{key} is given twice, by {key} {first} and by {key} {value}: leave one of them out")
    return read_suite(args.suite, given) if args.suite else [make_grid({"protocol": args.protocol, **given})]


def part_of(text: str | None, environment: Any) -> tuple[int, int] | None:
    """Return which part to take: `I/N`, or the place of this task in its Slurm array; None: everything.

    Raises:
        ValueError: not of that form, or an array with gaps, or one whose size is not known.
    """
    if text is not None:
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found:
            raise ValueError(f"--shard takes I/N, such as 1/8, not {text}")
        return int(found[1]), int(found[2])
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    if "SLURM_ARRAY_TASK_COUNT" not in environment:  # else every task would do everything
        raise ValueError("this is a Slurm array, but SLURM_ARRAY_TASK_COUNT is not set: give --shard I/N")
    number, least, step, count = (
        int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
        for name, default in (("ID", 1), ("MIN", 1), ("STEP", 1), ("COUNT", 1))
    )
    index, rest = divmod(number - least, step)
    if rest or not 0 <= index < count:
        raise ValueError(f"task {number} is not in an array without gaps: give --shard I/{count}")
    return index + 1, count


def print_states(states: dict[Run, tuple[str, str]], folders: Folders) -> None:
    """Print a line for each run, and how many there are of each state."""
    for run, (state, detail) in states.items():
        print(f"{state:<8} {run.name}{f'  ({detail})' if detail else ''}")
    counts = Counter(state for state, _ in states.values())
    found = ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s])
    print(f"{len(states)} runs in {folders.output}: {found or 'none'}")


def carry_out(args: argparse.Namespace, runs: list[Run], folders: Folders, report: Report) -> int:
    """Run what is to be run, here or through a launcher. Returns 75 or 130 if a signal ended it, else 0."""
    if not runs:
        return 0
    if args.together and not engine.OURS:
        raise ValueError("--together needs this project's Dassl, and another one is installed: leave it out")
    program = TOGETHER if args.together else PROGRAM
    if args.launcher:
        return cluster.launch(args, runs, folders, program, report)
    slots = slots_for(args.jobs, args.per_gpu)
    pool = Pool(program, folders, slots)
    caught: list[int] = []

    def stop(number: int, _: Any) -> None:
        caught.append(number)
        pool.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        pool.run(runs, report, args.keep_going)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return {signal.SIGTERM: 75, signal.SIGINT: 130}[signal.Signals(caught[0])] if caught else 0


class Report:
    """Says what comes of the runs: a line for each (accuracy, time left), a bar, and what failed at the end."""

    def __init__(self, total: int, done: int, folders: Folders) -> None:
        self.total, self.before, self.folders = total, done, folders
        self.outcomes: list[Outcome] = []
        self.started = time.monotonic()
        self.bar = tqdm(total=total, initial=done, unit="run", disable=None)
        if done:
            print(f"{done} of {total} runs were done before")

    def __call__(self, outcome: Outcome) -> None:
        """Take note of a run's outcome."""
        self.outcomes.append(outcome)
        self.bar.update()
        count = f"[{self.before + len(self.outcomes)}/{self.total}]"
        line = f"{count} {_word(outcome):<8}{outcome.seconds:6.0f} s  {outcome.run.name}"
        line += f"  ({outcome.line})" if outcome.status != 0 else self._accuracy(outcome.run)
        self.bar.write(line + self._left(), file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> int:
        """Print the sum, and the runs that came to nothing. Returns 1 if there are any."""
        counts = Counter(map(_word, self.outcomes))
        seconds = tqdm.format_interval(time.monotonic() - self.started)
        counted = ", ".join(f"{number} {word}" for word, number in counts.items()) or "nothing to do"
        print(f"{self.total} runs: {f'{self.before} done before, ' if self.before else ''}{counted}, in {seconds}")
        lost = [outcome for outcome in self.outcomes if outcome.status != 0]
        for outcome in lost:
            print(
                f"error: {_word(outcome)}: {outcome.run.name}: {outcome.line.removeprefix('error: ')}", file=sys.stderr
            )
        return 1 if lost else 0

    def _accuracy(self, run: Run) -> str:
        try:
            accuracy = (record.read(self.folders.folder(run)) or {}).get("accuracy")
        except record.DamagedRecord as error:
            return f"  ({error})"
        return "" if accuracy is None else f"  accuracy {accuracy:.2f}"

    def _left(self) -> str:
        left = self.total - self.before - len(self.outcomes)
        if not left:
            return ""
        each = (time.monotonic() - self.started) / len(self.outcomes)
        return f"  (about {tqdm.format_interval(each * left)} left)"


def _word(outcome: Outcome) -> str:
    if outcome.status is None:
        return "skipped"
    return "done" if outcome.status == 0 else STOPPED.get(outcome.status, "failed")
