"""Where a run happened: package versions, commit, device, memory. Nothing here imports torch at load."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scikit-learn", "open_clip_torch")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def project_version() -> str:
    """Return the project's version, from its `pyproject.toml`."""
    found = re.search(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def commit() -> dict[str, Any] | None:
    """Return the project's commit and whether tracked files differ from it; None outside a checkout or without git."""
    head = _git("rev-parse", "HEAD")
    top = _git("rev-parse", "--show-toplevel")
    if head is None or top is None or Path(top).resolve() != PROJECT:
        return None
    return {"id": head, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def device_name(device: Any) -> str:
    """Return a torch device in words, such as `cuda (NVIDIA H100)`."""
    import torch

    if torch.device(device).type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def peak_memory(device: Any) -> dict[str, Any] | None:
    """Return the peak memory so far: of CUDA's allocator, or the process's largest resident size. None if unknown."""
    import torch

    if torch.device(device).type == "cuda":
        return {"bytes": torch.cuda.max_memory_allocated(device), "kind": "CUDA allocator"}
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "kind": "resident set"}
