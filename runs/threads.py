"""How many threads a run's model is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runs.engine import limit_threads

SMALL_FILE = 64 * 2**20  # bytes: the smallest of OpenAI's has 244 MiB, the one that comes with the project 5


def choose_threads(backbone: str, device: Any) -> None:
    """Set the number of threads for a model on a device: one for a small model on the CPU, else one per processor.

    Models of few and narrow layers are slower with threads, and ten times slower with threads on a busy machine.
    """
    limit_threads(1 if device.type == "cpu" and is_small(backbone) else None)


def is_small(backbone: str) -> bool:
    """Whether a backbone's weights are few: those that come with the project, or a file of at most 64 MiB."""
    file = Path(backbone).expanduser()
    return backbone == "embedded" or (file.is_file() and file.stat().st_size <= SMALL_FILE)
