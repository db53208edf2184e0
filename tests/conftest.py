"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Tests run side by side, on models that are slower with threads; torch reads this when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``shared(name, make)``: a folder to read, which `make(folder)` fills once for all workers."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        done, path = base / f"{name}.done", base / name
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                path.mkdir()
                make(path)
                done.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def digits_root(shared) -> Path:
    """A folder of data sets that has Digits, written once for all workers."""

    def write(root: Path) -> None:
        from datasets.digits import Digits

        Digits.write_once(str(root / Digits.folder))

    return shared("data", write)


@pytest.fixture(scope="session")
def python(shared) -> str:
    """A command that does what `python` does, but has torch loaded (tests/warm.py)."""
    from tests import warm

    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return str(shared("python", lambda folder: warm.command(folder, owner)) / "python")
