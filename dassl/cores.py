"""How many processors a run may use, and what it makes of them: torch's threads, and the workers of a loader.

Nothing here needs torch at load.
"""

from __future__ import annotations

import os
from pathlib import Path

SHARE = "GRID_CORES"  # in the environment of each run of a grid: how many processors are for it
ASKED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # where users say how many threads there are to be
CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Return how many processors this process may use, at least 1.

    Those that the system lets it run on, no more than a container's quota (cgroups), and than a grid's share.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, share = _quota(), os.environ.get(SHARE, "")
    if quota is not None:
        cores = min(cores, round(quota))
    if share.isdecimal():
        cores = min(cores, int(share))
    return max(1, cores)


def loader_workers(asked: int) -> int:
    """Return how many workers a loader gets: as many as asked, but no more than there are processors.

    It is the largest divisor of ``asked`` that is not, so that each stands for as many of those asked
    (``dassl.data.workers``) and what they load does not depend on the machine.
    """
    most = available()
    return next((count for count in range(min(asked, most), 0, -1) if asked % count == 0), 0)


def limit_threads(most: int | None = None) -> None:
    """Let torch, and the libraries under NumPy, use at most ``most`` threads, or as many as there are processors.

    What the user says by OMP_NUM_THREADS or MKL_NUM_THREADS stays.
    """
    if any(os.environ.get(name) for name in ASKED):
        return
    import torch
    from threadpoolctl import threadpool_limits

    count = min(torch.get_num_threads(), available() if most is None else most)
    threadpool_limits(count)
    torch.set_num_threads(count)


def _quota() -> float | None:
    """Processors that cgroups leave to this container; None without a limit."""
    try:
        if (CGROUP / "cpu.max").is_file():
            quota, period = (CGROUP / "cpu.max").read_text().split()
        else:
            quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no cgroups, or "max"
        return None
