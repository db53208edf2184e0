"""Carry out runs on this machine, several at once, each in a process of its own that is forked after the imports.

Runs that differ in their seeds alone may share a process (`runs.together`).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from common.files import write_json
from dassl import cores
from runs.environment import PROJECT
from runs.grid.expand import seeds_of
from runs.protocols import Run


@dataclass(frozen=True)
class Program:
    """What does one run.

    Attributes:
        main: a module's function that reads sys.argv and returns the exit status, as `train.main` does.
        imports: modules to import before processes are forked for it.
        together: what does several runs in one process, as `runs.together.main` does; None: each has its own.
    """

    main: Callable[[], int]
    imports: tuple[str, ...] = ()
    together: Callable[[list[list[str]], list[Path], Callable[[int, int], None]], None] | None = None


@dataclass(frozen=True)
class Folders:
    """The folders of all datasets and of all runs."""

    root: str
    output: str

    def folder(self, run: Run) -> Path:
        """Return where the run lies."""
        return Path(self.output) / run.name

    def arguments(self, run: Run) -> list[str]:
        """Return the run's arguments of `train.py`."""
        return run.arguments(self.root, self.output)


@dataclass(frozen=True)
class Outcome:
    """What came of a run: exit status of `train.py` (None: not started), the line to show for it, seconds."""

    run: Run
    status: int | None
    line: str = ""
    seconds: float = 0.0


@dataclass
class _Live:
    runs: list[Run]
    slot: str | None
    consoles: list[Path]
    started: float


class Pool:
    """Processes that carry out runs.

    Args:
        program: what does a run.
        folders: where data and runs lie.
        slots: one for each run at a time: the GPU it sees, or None to leave that as it is. They share the processors.
        beside: how many pools share them too, this one included.
    """

    def __init__(self, program: Program, folders: Folders, slots: Sequence[str | None], beside: int = 1) -> None:
        self.program, self.folders, self.slots = program, folders, list(slots)
        self._share = str(max(1, cores.available() // (len(self.slots) * beside)))
        self.stopping = False
        self._live: dict[Any, _Live] = {}
        self._context = _context(program.imports)

    def run(self, runs: Sequence[Run], report: Callable[[Outcome], None], keep_going: bool = True) -> None:
        """Carry out `runs`, a test after the training run among them that it needs; `report` gets each outcome once.

        A test whose training run came to nothing is reported as not started, and so is what remains after `stop`.
        """
        waiting, free = self._processes(runs), list(self.slots)
        pending = set(runs)
        lost: set[Run] = set()
        with tempfile.TemporaryDirectory(prefix="grid-") as folder:
            while waiting or self._live:
                for run in [run for group in waiting for run in group if run.model in lost]:
                    waiting = [kept for group in waiting if (kept := [other for other in group if other != run])]
                    report(Outcome(run, None, "its training run is not done"))
                ready = [group for group in waiting if not pending.intersection(run.model for run in group)]
                while ready and free and not self.stopping:
                    group = ready.pop(0)
                    waiting.remove(group)
                    self._start(group, free.pop(0), Path(folder))
                if self.stopping and not self._live:
                    for run in (run for group in waiting for run in group):
                        report(Outcome(run, None, "not started"))
                    return
                for outcomes, slot in self._ended():
                    free.append(slot)
                    for outcome in outcomes:
                        pending.discard(outcome.run)
                        if outcome.status:
                            lost.add(outcome.run)
                            self.stopping |= not keep_going
                        report(outcome)

    def stop(self, patience: float | None = None) -> None:
        """Start nothing more; let the runs at hand save themselves and end. Waits `patience` seconds (None: for ever).

        May be called from a signal handler while `run` runs.
        """
        self.stopping = True
        for process in list(self._live):
            process.terminate()
        deadline = None if patience is None else time.monotonic() + patience
        for process in list(self._live):
            process.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _processes(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Return the runs as they share processes."""
        return seeds_of(runs) if self.program.together else [[run] for run in runs]

    def _start(self, runs: list[Run], slot: str | None, folder: Path) -> None:
        consoles = [folder / f"{time.monotonic_ns()}-{number}.txt" for number in range(len(runs))]
        environment = {cores.SHARE: self._share}
        environment |= {} if slot is None else {"CUDA_VISIBLE_DEVICES": slot}
        words = [self.folders.arguments(run) for run in runs]
        process = self._context.Process(target=_carry_out, args=(self.program, words, consoles, environment))
        process.start()
        self._live[process] = _Live(runs, slot, consoles, time.monotonic())

    def _ended(self) -> list[tuple[list[Outcome], str | None]]:
        ended: list[tuple[list[Outcome], str | None]] = []
        if not self._live:
            return ended
        wait([process.sentinel for process in self._live])
        for process in [process for process in self._live if not process.is_alive()]:
            live = self._live.pop(process)
            seconds = time.monotonic() - live.started
            outcomes = []
            for run, console in zip(live.runs, live.consoles, strict=True):
                status = _status(console, process.exitcode)
                outcomes.append(Outcome(run, status, last_line(console, status) if status else "", seconds))
            ended.append((outcomes, live.slot))
        return ended


def last_line(console: Path, status: int) -> str:
    """Say why a run ended with `status`: the last `error:` line that it printed, else its last line or the signal."""
    text = console.read_text(encoding="utf-8", errors="replace") if console.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return (errors or lines or [f"exit status {status}, and no word"])[-1]


def gpus() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES if it is set, else all that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None and shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True)
        named = done.stdout.replace("\n", ",") if done.returncode == 0 else ""
    return [word.strip() for word in (named or "").split(",") if word.strip() not in ("", "-1")]


def slots_for(jobs: int | None, per_gpu: int | None = None) -> list[str | None]:
    """Return slots for runs, GPUs in turn: `jobs`, by default `per_gpu` (1) for each GPU, or one without any.

    Raises ValueError: there are to be several on each GPU, and there is none.
    """
    found = gpus()
    if per_gpu and not found:
        raise ValueError("--per-gpu: there is no GPU here (nvidia-smi, CUDA_VISIBLE_DEVICES); give --jobs N")
    count = jobs or len(found) * (per_gpu or 1) or 1
    return [found[i % len(found)] if found else None for i in range(count)]


def let_processes_import() -> None:
    """Let processes that are started from now on import the project's packages, wherever they start."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))


def _context(imports: Sequence[str]) -> Any:
    """A server that has imported everything and forks; elsewhere than on Linux a new interpreter each time.

    macOS can fork too, but its frameworks (Metal among them) do not survive that.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    let_processes_import()  # older Pythons' servers find the project by nothing else
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runs.grid.server", *imports])
    return context


def _carry_out(program: Program, runs: list[list[str]], consoles: list[Path], environment: dict[str, str]) -> None:
    """The whole of a process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server ignores it (see runs/grid/server.py)
    os.environ.update(environment)
    with open(consoles[0], "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if program.together and len(runs) > 1:
        program.together(runs, consoles, lambda number, status: write_json(_file(consoles[number]), status))
        return
    sys.argv = ["train.py", *runs[0]]
    sys.exit(program.main())


def _file(console: Path) -> Path:
    """Where a run of several in a process leaves its exit status."""
    return console.with_suffix(".status")


def _status(console: Path, exitcode: int) -> int:
    """Return a run's exit status: its own, where it left one, else that of its process."""
    own = _file(console)
    return json.loads(own.read_text()) if own.is_file() else exitcode


def _end_with_parent() -> None:
    """When the process that wanted the run is gone, stop as on SIGTERM: save, and end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
