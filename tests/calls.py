"""How tests call train.py, in their own process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import train
from runs.environment import PROJECT

CONFIGS = PROJECT / "configs"


def words(data: Path, run: Path, *options: str, method: str = "MMRL", dataset: str | Path = "digits") -> list[str]:
    """Return train.py's arguments for a run with seed 1 on the embedded CLIP; `dataset` is a name or a YAML file."""
    named = {
        "--root": data,
        "--output-dir": run,
        "--seed": 1,
        "--trainer": method,
        "--dataset-config-file": dataset if isinstance(dataset, Path) else CONFIGS / f"datasets/{dataset}.yaml",
        "--config-file": CONFIGS / f"trainers/{method}/embedded.yaml",
    }
    return [*(word for pair in named.items() for word in map(str, pair)), *options]


def call(arguments: list[str]) -> int:
    """Carry out train.py and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
        patch.setattr(sys, "stderr", sys.stderr)
        return train.main(arguments)
