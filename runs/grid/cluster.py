"""Carry out runs as jobs of a scheduler, through submitit: one job for each training run with its tests.

With `--together` one for the training runs of all seeds, with their tests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files import write_json
from runs.grid.expand import Chain, chains_of
from runs.grid.pool import Folders, Outcome, Pool, Program, gpus, let_processes_import, slots_for
from runs.protocols import Run

JOBS = "grid_jobs"
POLL = 2.0  # seconds between looks at the jobs
TIMEOUTS = 20  # how often a job that reaches its time limit is queued again
ARRAY = 1000  # jobs of one array: Slurm's MaxArraySize is 1001 unless a cluster says otherwise


def launch(args: argparse.Namespace, runs: Sequence[Run], folders: Folders, program: Program, report: Any) -> int:
    """Submit the runs, wait for them, and report each.

    Returns:
        130 after Ctrl-C and 75 after SIGTERM, when local jobs save themselves and end while Slurm's go on; else 0.

    Raises:
        ValueError: a wrong time, Slurm is not there, or it was asked to start nothing after a failure.
    """
    if args.launcher == "slurm" and not args.keep_going:
        raise ValueError("--no-keep-going is not for --launcher slurm, where all jobs are submitted at once")
    folder = Path(folders.output).absolute() / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    let_processes_import()
    absolute = Folders(str(Path(folders.root).absolute()), str(Path(folders.output).absolute()))
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    board = _Slurm(args, folder) if args.launcher == "slurm" else _Local(args, folder)
    beside = 1 if args.launcher == "slurm" else board.at_once
    jobs = [
        Job(chain, absolute, program, folder / f"{stamp}-{number}.json", beside)
        for number, chain in enumerate(chains_of(runs, program.together is not None), start=1)
    ]
    terminated = False

    def stop(*_: Any) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        _watch(jobs, board, report, args.keep_going)
    except KeyboardInterrupt:
        print(board.interrupt())
        return 75 if terminated else 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


class Job:
    """A training run with its tests. submitit calls it in the job, and `checkpoint` before the job is taken away.

    `beside` is how many jobs its machine has at a time, itself included.
    """

    def __init__(self, runs: Chain, folders: Folders, program: Program, outcomes: Path, beside: int) -> None:
        self.runs, self.folders, self.program, self.outcomes, self.beside = runs, folders, program, outcomes, beside
        self._pool: Pool | None = None

    def __call__(self) -> None:
        """Carry out the runs, and leave what came of them in the file `outcomes`."""
        found: list[Outcome] = []
        self._pool = Pool(self.program, self.folders, [None], self.beside)
        self._pool.run(self.runs, found.append)
        write_json(self.outcomes, [[one.status, one.line, one.seconds] for one in sorted(found, key=self._order)])

    def checkpoint(self) -> Any:
        """Let the run at hand save itself; the same job goes on from there."""
        from submitit.helpers import DelayedSubmission

        if self._pool:
            self._pool.stop()
        return DelayedSubmission(Job(self.runs, self.folders, self.program, self.outcomes, self.beside))

    def read(self) -> list[Outcome] | None:
        """Return what came of the runs, or None while the job has not said."""
        if not self.outcomes.is_file():
            return None
        found = json.loads(self.outcomes.read_text(encoding="utf-8"))
        return [Outcome(run, *one) for run, one in zip(self.runs, found, strict=True)]

    def _order(self, outcome: Outcome) -> int:
        return self.runs.index(outcome.run)


class _Slurm:
    """Jobs of Slurm. squeue says which are queued or running: sacct needs a database that small clusters lack."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        import submitit

        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise ValueError("--launcher slurm needs Slurm's sbatch and srun, and they are not in PATH")
        extra = dict(pair.partition("=")[::2] for pair in args.slurm)
        wanted = {
            "slurm_partition": args.partition,
            "slurm_gpus_per_node": (1 if args.gpus is None else args.gpus) or None,
            "slurm_cpus_per_task": args.cpus,
            "slurm_array_parallelism": args.concurrency or ARRAY,
            "slurm_job_name": "grid",
            "slurm_time": minutes(args.time),
            "slurm_additional_parameters": {"requeue": True, **extra},
        }
        self._executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=TIMEOUTS)
        self._executor.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
        self.at_once, self._concurrency = 0, args.concurrency

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Submit them as an array, or as several that share what may run at a time."""
        from submitit.core.utils import FailedJobError

        arrays = [jobs[start : start + ARRAY] for start in range(0, len(jobs), ARRAY)]
        if self._concurrency:
            self._executor.update_parameters(slurm_array_parallelism=max(1, self._concurrency // len(arrays)))
        handles: list[Any] = []
        try:
            for array in arrays:
                with self._executor.batch():
                    handles += [self._executor.submit(job) for job in array]
            return handles
        except FailedJobError as error:
            raise ValueError(f"sbatch refused: {' '.join(str(error).split())}") from error

    def alive(self, handles: Sequence[Any]) -> set[str]:
        """Return the ids of the jobs that are not over. While Slurm does not answer, all count."""
        done = subprocess.run(["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True)
        known = set(done.stdout.split())
        return {handle.job_id for handle in handles if done.returncode or handle.job_id in known}

    def interrupt(self) -> str:
        """Leave the jobs to go on. Returns what to say."""
        return "The jobs go on: squeue shows them, --list how far the runs are, scancel ends them"


class _Local:
    """The same jobs, as processes of this machine."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        import submitit

        found = gpus()
        self._wanted = min(1 if args.gpus is None else args.gpus, len(found))
        self._found = [int(name) for name in found if name.isdigit()]
        self.at_once = args.concurrency or len(slots_for(args.jobs, args.per_gpu))
        self._executor = submitit.LocalExecutor(folder, max_num_timeout=TIMEOUTS)
        self._executor.update_parameters(timeout_min=minutes(args.time))
        self._next = 0
        self._handles: list[Any] = []

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Start them."""
        handles = []
        for job in jobs:
            if self._wanted:
                visible = [self._found[(self._next + i) % len(self._found)] for i in range(self._wanted)]
                self._executor.update_parameters(gpus_per_node=self._wanted, visible_gpus=visible)
                self._next += self._wanted
            with _interruptible():
                handles.append(self._executor.submit(job))
            self._handles.append(handles[-1])
        return handles

    def alive(self, handles: Sequence[Any]) -> set[str]:
        """Return the ids of the jobs that are not over."""
        return {handle.job_id for handle in handles if not handle.done()}

    def interrupt(self) -> str:
        """End the jobs; their runs save themselves once these are gone. Returns what to say."""
        for handle in self._handles:
            if not handle.done():
                handle.cancel()
        while not all(handle.done() for handle in self._handles):
            time.sleep(0.05)
        return "Stopped: the same command goes on"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Jobs are ended by SIGINT. A process in a script's background ignores it, and what it starts would do so too."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(jobs: Sequence[Job], board: Any, report: Callable[[Outcome], None], keep_going: bool) -> None:
    """Keep `board.at_once` jobs going (0: submit all at once), and report the runs of each that is over.

    After a failure, those that wait are reported as not started unless it is to `keep_going`.
    """
    waiting = list(jobs)
    open_jobs: list[tuple[Job, Any]] = []
    while waiting or open_jobs:
        room = len(waiting) if not board.at_once else min(len(waiting), board.at_once - len(open_jobs))
        if room:
            batch, waiting = waiting[:room], waiting[room:]
            handles = board.submit(batch)
            print(f"Submitted {len(batch)} jobs: {handles[0].job_id}{f' to {handles[-1].job_id}' if room > 1 else ''}")
            open_jobs += zip(batch, handles, strict=True)
        time.sleep(POLL)
        alive = board.alive([handle for _, handle in open_jobs])
        for job, handle in [pair for pair in open_jobs if pair[1].job_id not in alive]:
            open_jobs.remove((job, handle))
            outcomes = job.read() or _silent(job, handle)
            for outcome in outcomes:
                report(outcome)
            if not keep_going and any(outcome.status for outcome in outcomes):
                for run in [run for other in waiting for run in other.runs]:
                    report(Outcome(run, None, "not started"))
                waiting = []


def _silent(job: Job, handle: Any) -> list[Outcome]:
    """The outcomes of a job that ended without a word: cancelled, out of memory, or its node was lost."""
    return [Outcome(run, 1, f"its job {handle.job_id} left no word: see {handle.paths.stderr}") for run in job.runs]


def minutes(text: str) -> int:
    """Read a time, `H:MM:SS`, `MM:SS` or minutes, as whole minutes, at least 1. Raises ValueError otherwise."""
    if not re.fullmatch(r"\d+(:\d+){0,2}", text):
        raise ValueError(f"--time takes H:MM:SS or minutes, not {text}")
    parts = [int(part) for part in text.split(":")]
    if len(parts) == 1:
        return max(1, parts[0])
    hours, mins, seconds = [0, *parts][-3:]
    return max(1, hours * 60 + mins + (seconds > 0))
