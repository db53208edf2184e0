"""What a run uses of this project's Dassl beyond the public package, and what stands for it under another Dassl."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainers.shared import engine
from trainers.shared.engine import LOST, OURS

__all__ = ["OURS"]

SMALL_FILE = 64 * 2**20  # bytes: the smallest of OpenAI's has 244 MiB, the one that comes with the project 5


class NotPreempted(BaseException):
    """Stands for `dassl.engine.Preempted` where no engine raises that."""


def check(cfg: Any) -> None:
    """Raise ValueError, before anything runs, for what the installed Dassl or a missing logger cannot do."""
    engine.check(cfg)
    if OURS:
        from dassl import loggers

        loggers.check(cfg.TRAIN.LOGGER)
    elif cfg.TRAIN.LOGGER not in ("", "tensorboard"):
        raise ValueError(f"TRAIN.LOGGER {cfg.TRAIN.LOGGER} needs this project's Dassl: leave it out for TensorBoard")


def preempted() -> type[BaseException]:
    """Return what a trainer raises that was asked to stop, and has."""
    if not OURS:
        return NotPreempted
    from dassl.engine import Preempted

    return Preempted


def facts() -> dict[str, str]:
    """Return what a record says of the engine: nothing of this project's."""
    return {} if OURS else {"engine": "public"}


def remarks() -> dict[str, str]:
    """Return what a run lacks under another Dassl, in a line, by its kind."""
    return {} if OURS else {"engine": LOST}


def choose_device(use_cuda: bool) -> Any:
    """Return the `torch.device` that the installed Dassl's trainers compute on."""
    if OURS:
        from dassl.engine.trainer import choose_device

        return choose_device(use_cuda)
    import torch

    return torch.device("cuda" if use_cuda and torch.cuda.is_available() else "cpu")


def choose_threads(backbone: str, device: Any) -> None:
    """Set the number of threads for a model on a device: one for a small model on the CPU, else one per processor.

    Models of few and narrow layers are slower with threads, and ten times slower with threads on a busy machine.
    Another Dassl leaves that to torch.
    """
    if OURS:
        from dassl.cores import limit_threads

        limit_threads(1 if device.type == "cpu" and is_small(backbone) else None)


def is_small(backbone: str) -> bool:
    """Whether a backbone's weights are few: those that come with the project, or a file of at most 64 MiB."""
    file = Path(backbone).expanduser()
    return backbone == "embedded" or (file.is_file() and file.stat().st_size <= SMALL_FILE)


def cpu_seconds() -> float:
    """Return the processor time of this process and its children; under another Dassl of those that have ended."""
    if OURS:
        from dassl.busy import cpu_seconds

        return cpu_seconds()
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def macro_f1(true: Sequence[int], predicted: Sequence[int]) -> float:
    """Return the mean F1 in percent over the classes that occur in `true`."""
    if OURS:
        from dassl.evaluation import macro_f1

        return macro_f1(true, predicted)
    from sklearn.metrics import f1_score

    return 100.0 * float(f1_score(true, predicted, average="macro", labels=sorted(set(true))))


def generators() -> dict[str, Any]:
    """Return the states of all random generators, for `set_generators`; of this project's Dassl."""
    from dassl.engine.rng import get_rng_state

    return get_rng_state()


def set_generators(states: dict[str, Any]) -> None:
    """Take back what `generators` returned."""
    from dassl.engine.rng import set_rng_state

    set_rng_state(states)


def ready(trainer: Any) -> None:
    """Tell the trainer's tally, if it keeps one, that its start-up is over."""
    if OURS:
        trainer.tally.ready = time.monotonic()


def tested(trainer: Any) -> None:
    """Tell the trainer's tally, if it keeps one, that all since the start-up was testing."""
    if OURS:
        trainer.tally.testing_seconds = time.monotonic() - trainer.tally.ready
