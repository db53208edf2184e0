"""A loader whose workers outlive an epoch, and yet load what new workers would.

torch seeds workers once, when they start. Were that all, the augmentations of an epoch would depend on the epochs
before it, and a resumed run would not repeat them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.sampler import Sampler

from dassl.cores import loader_workers


class LastingLoader(DataLoader):
    """A DataLoader with `num_workers` > 0 workers that start at the first epoch and stay.

    An epoch draws from torch's CPU generator what torch's own loader would: the workers' seed, then what the
    sampler draws. `dataset` gets the indices of a batch through `__getitems__`, as a SeededSampler gives them.

    `stand_for` workers are asked for, of which the loader has a divisor (`dassl.cores.loader_workers`): each stands for
    as many of them, with their generators, and as many batches are under way. So batches, and what is drawn in between,
    are the same on every machine.
    """

    def __init__(self, dataset: Any, sampler: Sampler[int], stand_for: int, prefetch: int, **options: Any) -> None:
        workers = loader_workers(stand_for)
        dataset.stand_for = stand_for
        options |= {"num_workers": workers, "prefetch_factor": prefetch * (stand_for // workers)}
        # torch's own seed for the workers has no effect here, so it must not draw from the global generator.
        super().__init__(
            dataset, sampler=SeededSampler(sampler), persistent_workers=True, generator=torch.Generator(), **options
        )
        self._hold: weakref.finalize | None = None

    def __iter__(self) -> Any:
        """Start an epoch."""
        iterator = super().__iter__()
        if self._hold is None:
            # Garbage in a cycle loses its queues first and then waits 5 s for each worker. Held from outside, the
            # iterator is no part of a cycle that its loader is in: it goes after it, whole.
            self._hold = weakref.finalize(self, _let_go, iterator)
            self._hold.atexit = False
            # At exit torch would wait 5 s for workers that wait for work. What is registered later runs before that.
            atexit.register(_end_workers, weakref.ref(self))
        return iterator

    def end_workers(self) -> None:
        """End the workers now, whoever still holds their iterator; the next epoch starts new ones."""
        if self._hold is not None:
            self._hold.detach()
            self._iterator._shutdown_workers()  # type: ignore[union-attr]
        self._hold = self._iterator = None


def _end_workers(loader: weakref.ref[LastingLoader]) -> None:
    alive = loader()
    if alive is not None:
        alive.end_workers()


def _let_go(_: object) -> None:
    """The caller's reference was the point."""


class SeededSampler(Sampler[tuple[int, int]]):
    """(seed, index) for each index of a sampler; an epoch's seed is drawn before what the sampler draws.

    The seed travels with the batch, so that a worker knows when an epoch starts, even if the last one was left
    in the middle.
    """

    def __init__(self, sampler: Sampler[int]) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[tuple[int, int]]:
        seed = int(torch.empty((), dtype=torch.int64).random_())
        for index in self.sampler:
            yield seed, index

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]


def obey_parent_only(_: int) -> None:
    """Let SIGTERM end this worker only if its parent sends it.

    Sent to all processes of a run, it asks the run to finish its step, for which that needs its workers. Does nothing
    where the sender cannot be known (macOS, Windows).
    """
    parent = multiprocessing.parent_process()  # getppid() would be the fork server's, where there is one
    if parent is not None and hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_at_request_of, args=(parent.pid,), daemon=True).start()


def _end_at_request_of(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)  # what torch's own workers do then


class _Seats:
    """The generators of the workers that this process stands for, in an epoch."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.batches = 0
        self.seat: int | None = None  # whose generators are in place
        self.states: dict[int, tuple[Any, Any, torch.Tensor]] = {}

    def take(self, seat: int) -> None:
        """Put a worker's generators in place; torch's and Python's start as torch starts those of new workers."""
        self.batches += 1
        if seat == self.seat:
            return
        if self.seat is not None:
            self.states[self.seat] = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self.seat = seat
        if seat in self.states:
            of_python, of_numpy, of_torch = self.states[seat]
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            torch.set_rng_state(of_torch)
            return
        random.seed(self.seed + seat)
        torch.manual_seed(self.seed + seat)
        np.random.seed(np.random.SeedSequence([self.seed, seat]).generate_state(4))


_seats: _Seats | None = None  # of this process, a worker


def seed_worker(seed: int, stand_for: int) -> None:
    """Put the generators in place that the next batch has in the epoch of `seed`, with `stand_for` workers.

    Batches go to workers in turn, so the n-th of this worker is for the one whose turn it is then.
    RuntimeError outside a worker.
    """
    global _seats
    worker = get_worker_info()
    if worker is None:
        raise RuntimeError("only a loader's worker can be seeded for an epoch")
    if _seats is None or seed != _seats.seed:
        _seats = _Seats(seed)
    _seats.take((_seats.batches * worker.num_workers + worker.id) % stand_for)
