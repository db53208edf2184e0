"""Carry out runs of train.py one after another in this process, and show how far they are."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tqdm import tqdm

from common.commandline import USER_ERRORS
from runs import execute, record
from runs.arguments import parse_args

from .plan import Job, duration


class _Console(io.StringIO):
    """Takes what a run prints, which its log has, and shows the line of its epoch behind a bar."""

    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self.bar, self.done_before = bar, False

    def write(self, text: str) -> int:
        if text.startswith("epoch "):
            self.bar.set_postfix_str(text.strip()[:60])
        self.done_before |= text.startswith("Finished before")
        return len(text)


class Progress:
    """Carries out jobs and prints a line for each, with the time left by the jobs' estimates.

    Args:
        out: the folder that the jobs' folders are in.
        jobs: all that there will be.
    """

    def __init__(self, out: Path, jobs: Sequence[Job]) -> None:
        self.out, self.total, self.done, self.took, self.estimated = out, len(jobs), 0, 0.0, 0.0
        self.left = sum(job.seconds for job in jobs)
        shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
        self.bar = tqdm(total=self.left, disable=None, bar_format=shape, file=sys.stderr)

    def carry_out(self, job: Job) -> int:
        """Carry out a job that is not done; returns its exit status, which is not 0 where a signal ended it.

        Raises what train.py refuses or fails with, once it is said which run that was.
        """
        self.bar.set_description(job.label)
        started = time.monotonic()
        console = _Console(self.bar)
        try:
            with redirect_stdout(console), redirect_stderr(console):
                try:
                    status = execute.run(parse_args(job.words))
                finally:
                    for stream in (sys.stdout, sys.stderr):  # by now the run's log
                        stream.close()
        except USER_ERRORS:
            self.bar.close()
            print(f"{job.label} failed (log: {self.out / job.name / 'log.txt'})", file=sys.stderr)
            raise
        if status == 0:
            self._tell(job, time.monotonic() - started, console.done_before)
        return status

    def _tell(self, job: Job, seconds: float, done_before: bool) -> None:
        self.done += 1
        self.left -= job.seconds
        self.bar.update(job.seconds)
        if not done_before:
            self.took, self.estimated = self.took + seconds, self.estimated + job.seconds
        content = record.read(self.out / job.name) or {}
        said = f": {content['accuracy']:.1f}%" if "accuracy" in content else ""
        said += " (done before)" if done_before else f" ({seconds:.0f} s)"
        if self.done < self.total and self.estimated:
            said += f", about {duration(self.left * self.took / self.estimated)} left"
        self.bar.write(f"[{self.done}/{self.total}] {job.label}{said}", file=sys.stdout)
        sys.stdout.flush()
