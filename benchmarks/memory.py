"""Peak memory of a side's training step beyond what is held between steps, measured in a process of its own.

A CPU's peak is that of the resident memory, an NVIDIA GPU's that of torch's allocator.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "MemoryError")
# Large blocks go back to the system when freed: what loading has freed must not serve the step unseen.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def peak_of_step(case: Any, side: str, weights: Path, threads: int) -> dict[str, int] | None:
    """Bytes ``held`` between steps and the peak's ``extra`` over them; None where the memory did not suffice.

    Raises RuntimeError with the process's last line where it failed otherwise.
    """
    job = {"case": dataclasses.asdict(case), "side": side, "weights": str(weights), "threads": threads}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(job, allow_nan=False)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == -signal.SIGKILL or any(words in last for words in NO_MEMORY):
        return None
    raise RuntimeError(f"measuring the memory of {side} failed (exit status {done.returncode}): {last}")


def _child(job: dict[str, Any]) -> dict[str, int]:
    import torch

    from benchmarks import cases

    torch.set_num_threads(job["threads"])
    case, weights = cases.Case(**job["case"]), Path(job["weights"])
    if torch.device(case.device).type == "cpu":
        _limit_to_available()
    step = cases.step_of(case, job["side"], weights)
    if case.compiled and job["side"] == "ours":
        step.compile()
    step()  # after it the optimiser's state and the libraries' own memory are held
    return _cuda_peak(step) if torch.device(case.device).type == "cuda" else _resident_peak(step)


def _cuda_peak(step: Callable[[], None]) -> dict[str, int]:
    import torch

    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    step()
    return {"held": held, "extra": torch.cuda.max_memory_allocated() - held}


def _resident_peak(step: Callable[[], None]) -> dict[str, int]:
    """Linux can forget earlier peaks; elsewhere only what exceeds them is seen."""
    if MARK.exists():
        MARK.write_text("5")
        held = _status("VmRSS")
        step()
        return {"held": held, "extra": _status("VmHWM") - held}
    unit = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    step()
    return {"held": held, "extra": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - held}


def _limit_to_available() -> None:
    """A step that needs more than the machine has shall fail here and not push other processes out."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        available = _kilobytes(meminfo, "MemAvailable") + _status("VmRSS")
        resource.setrlimit(resource.RLIMIT_DATA, (available, available))


def _status(key: str) -> int:
    return _kilobytes(STATUS, key)


def _kilobytes(path: Path, key: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1])), allow_nan=False))
