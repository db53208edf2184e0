"""Processor time of a run, and how long it waited for a processor that other programs had.

A run waits where one of its threads (or a loader's worker) could go on and has no processor: Linux counts that for each
thread (`schedstat`). Threads of one run also wait for each other, which is no fault of the machine, so no more counts
than the processor time that others took meanwhile (`/proc/stat`, of the processors that the run may use). A run beside
others of its grid thus waits only where they really hinder it. Not seen are caches, memory and disks that are shared,
and what a hypervisor takes. On other systems than Linux waiting is unknown: None.

Nothing here needs torch.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
BUSY = 0.05  # a time is not worth comparing if more than this part of it was waiting


class Look(NamedTuple):
    """What the system says at one moment, in seconds."""

    wall: float
    own: float  # processor time of this process and its children
    all: float  # of all programs, on the processors that this process may use
    delays: dict[str, float]  # waiting of each thread and of each worker


def cpu_seconds() -> float:
    """Return the processor time of this process and its children, ended ones and (on Linux) those that still run."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system + sum(map(_cpu_of, _workers()))


def look() -> Look | None:
    """Return what the system says now; None where it does not say how long threads waited."""
    try:
        if sys.platform != "linux":
            return None
        threads = [*(PROC / "self" / "task").iterdir(), *(PROC / str(pid) for pid in _workers())]
        delays = {thread.name: delay for thread in threads if (delay := _delay_of(thread)) is not None}
        return Look(time.monotonic(), cpu_seconds(), _all_cpu_seconds(), delays) if delays else None
    except (OSError, ValueError):
        return None


def waited(before: Look | None, after: Look | None) -> float | None:
    """Return the seconds between two looks in which a thread waited for a processor that others had; None: unknown."""
    if before is None or after is None:
        return None
    longest = max(delay - before.delays.get(thread, 0.0) for thread, delay in after.delays.items())
    others = (after.all - before.all) - (after.own - before.own)
    return max(0.0, min(longest, others))


@dataclass
class Waiting:
    """Waiting within the stretches of time that are watched."""

    seconds: float = 0.0
    waited: float | None = 0.0  # None: unknown

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Add the time until the end of the `with` block."""
        start, before = time.monotonic(), look()
        try:
            yield
        finally:
            found = waited(before, look())
            self.seconds += time.monotonic() - start
            self.waited = None if found is None or self.waited is None else self.waited + found

    def part(self) -> float | None:
        """Return the part of the watched time that was waiting, from 0 to 1; None where it is unknown."""
        return None if self.waited is None or not self.seconds else min(1.0, self.waited / self.seconds)


def _workers() -> list[int]:
    """Processes that this one started by `multiprocessing`, such as a loader's workers, and that still run."""
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def _delay_of(thread: Path) -> float | None:
    try:
        return int((thread / "schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):  # it has just ended, or the kernel does not count
        return None


def _cpu_of(pid: int) -> float:
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()  # its name may hold anything
    except OSError:  # it has just ended, or this is no Linux
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _all_cpu_seconds() -> float:
    """Processor time that was used on this process's processors since the machine started."""
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [line.split() for line in (PROC / "stat").read_text().splitlines() if line.startswith("cpu")]
    ticks = [[int(word) for word in row[1:8]] for row in rows if row[0] in mine]
    # user, nice, system, idle, waiting for disks, interrupts, soft interrupts
    return sum(sum(row) - row[3] - row[4] for row in ticks) / os.sysconf("SC_CLK_TCK")
