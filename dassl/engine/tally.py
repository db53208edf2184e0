"""How many images a run has trained on and tested, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dassl.busy import Waiting


@dataclass
class Work:
    """Images and the seconds they took."""

    images: int = 0
    seconds: float = 0.0


@dataclass
class Tally:
    """Work of this process on one run; what a resumed run did before it was killed is not in it.

    Attributes:
        training: labelled images of all steps; the seconds include loading, not checkpoints made between epochs.
        last_test: the last test's images; the seconds include loading, not what a method computes once before it.
        testing_seconds: all tests, those on the validation set included.
        waiting: how long the epochs (all that is not start-up or test) and the last test waited for a processor.
        ready: when the trainer was built, as `time.monotonic` has it.
    """

    training: Work = field(default_factory=Work)
    last_test: Work = field(default_factory=Work)
    testing_seconds: float = 0.0
    waiting: dict[str, Waiting] = field(default_factory=lambda: {"training": Waiting(), "last_test": Waiting()})
    ready: float = field(default_factory=time.monotonic)

    def trained(self, batch: Any) -> None:
        """Count a batch's images, where it tells how many they are."""
        if isinstance(batch, Mapping) and "label" in batch:
            self.training.images += len(batch["label"])

    @contextmanager
    def test(self) -> Iterator[Work]:
        """Time a test; the caller adds its images to what this yields."""
        self.last_test, self.waiting["last_test"] = Work(), Waiting()
        start = time.perf_counter()
        try:
            with self.waiting["last_test"].watch():
                yield self.last_test
        finally:
            self.last_test.seconds = time.perf_counter() - start
            self.testing_seconds += self.last_test.seconds
