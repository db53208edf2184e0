"""Runs of one method and data set that differ in their seeds, in one process (`mmrl.py grid --together`).

Each run is carried out in a thread of its own. Only one goes at a time, with its own random generators, stdout and
stderr, so that it does what it does alone. Where its method can take a training step for several seeds at once
(`trainers.shared.seeds`), a run waits in each step for the others; else it goes to its end before the next one starts.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runs import engine, execute


class Stop:
    """Whether the runs of this process are to stop."""

    asked = False


class Seat:
    """A run in a thread, which goes on only within `go`.

    Args:
        words: its arguments of `train.py`.
        console: the file that gets what it prints.
        beside: the seeds of the others, for a reader.
    """

    def __init__(self, words: Sequence[str], console: Path, beside: str, stop: Stop) -> None:
        self.words, self.console, self.beside, self.stop = list(words), console, beside, stop
        self.trainer: Any = None  # once it is built
        self.step: tuple[Any, Any] | None = None  # images and labels of the step that it waits in
        self.threads = 1  # those of torch in that step
        self.result: Any = None  # of that step: loss and accuracy [2], or what it raised
        self.status: int | None = None  # once it has ended
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, daemon=True)

    def go(self) -> None:
        """Let the run go on until it waits in a step or ends."""
        if self.stop.asked and not self._thread.is_alive():
            self.status = execute.PREEMPTED  # nothing of it has been touched
            return
        streams = sys.stdout, sys.stderr
        if not self._thread.is_alive():
            self._thread.start()
        self._mine.release()
        self._theirs.acquire()
        sys.stdout, sys.stderr = streams

    def wait(self, images: Any, labels: Any) -> Any:
        """Wait in a step, from within the run; return what `result` is set to meanwhile."""
        import torch

        generators, streams = engine.generators(), (sys.stdout, sys.stderr)
        self.step, self.threads = (images, labels), torch.get_num_threads()
        self._theirs.release()
        self._mine.acquire()
        engine.set_generators(generators)
        sys.stdout, sys.stderr = streams
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def _live(self) -> None:
        self._mine.acquire()
        _here.seat = self
        try:
            with self.console.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file:
                sys.stdout = sys.stderr = file
                try:
                    self.status = execute.main(self.words)
                finally:
                    if self.status is None:
                        traceback.print_exc()
        finally:
            self.status = 1 if self.status is None else self.status
            self.trainer = None  # its memory is for the others
            self._theirs.release()


_here = threading.local()


def join(trainer: Any) -> dict[str, str]:
    """Let the steps of this thread's run be taken with those of the others; return what to say of that, by kind.

    Raises `Preempted` where the runs have been asked to stop.
    """
    seat: Seat | None = getattr(_here, "seat", None)
    if seat is None:
        return {}
    from trainers.shared import seeds

    seat.trainer = trainer
    if seat.stop.asked:
        raise engine.preempted()
    how = f"one after the other: {trainer.cfg.TRAINER.NAME} takes no step for several seeds at once"
    if seeds.can(trainer):
        how = "step by step, and its times are those of all of them"
        trainer.do_pass = seat.wait
    return {"together": f"run in one process with {seat.beside}, {how}"}


def main(runs: Sequence[Sequence[str]], consoles: Sequence[Path], ended: Callable[[int, int], None]) -> None:
    """Carry out runs that differ in their seeds, each given by its arguments of `train.py`.

    Args:
        consoles: for each run the file that gets what it prints.
        ended: is called with a run's number, from 0, and its exit status as soon as it has ended.
    """
    stop = Stop()
    seeds = [execute.parse_args(list(words)).seed for words in runs]
    besides = [f"seed{'s' * (len(seeds) > 2)} " + ", ".join(str(s) for s in seeds if s != seed) for seed in seeds]
    seats = [Seat(words, console, beside, stop) for words, console, beside in zip(runs, consoles, besides, strict=True)]
    Preempted = engine.preempted()

    def ask(*_: Any) -> None:
        stop.asked = True
        for seat in seats:
            with suppress(Preempted):  # which it raises where no step is under way
                seat.trainer and seat.trainer.request_stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _take_turns(seats, ended)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_turns(seats: Sequence[Seat], ended: Callable[[int, int], None]) -> None:
    going = list(seats)
    while going:
        for seat in going:
            seat.go()
            if seat.status is not None:
                ended(seats.index(seat), seat.status)
        going = [seat for seat in going if seat.status is None]
        if going:
            import torch

            from trainers.shared import seeds

            torch.set_num_threads(going[0].threads)  # a thread has its own
            results = seeds.passes([(seat.trainer, *seat.step) for seat in going if seat.step])
            for seat, result in zip(going, results, strict=True):
                seat.result = result
