"""Batches of a loader whose place can be stored and found again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from .rng import get_rng_state, set_rng_state


class BatchStream:
    """Batches of a loader, with a place in them that can be stored and found again.

    An `endless` stream starts over at the loader's end.
    """

    def __init__(self, loader: DataLoader, endless: bool = False) -> None:
        self.loader = loader
        self.endless = endless
        self._iterator: Iterator[Any] | None = None
        self._rng: dict[str, Any] = {}
        self._taken = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._start()
        try:
            batch = next(self._iterator)  # type: ignore[arg-type]
        except StopIteration:
            if not self.endless:
                raise
            self._start()
            batch = next(self._iterator)  # type: ignore[arg-type]
        self._taken += 1
        return batch

    def place(self) -> dict[str, Any]:
        """Return where the stream stands: the random generators when it (re)started, and the batches taken since."""
        return {"rng": self._rng, "taken": self._taken}

    def go_to(self, place: dict[str, Any]) -> None:
        """Go on behind the batches that had been taken at `place`, loading them once more.

        Leaves the random generators anywhere: the caller sets them.
        """
        set_rng_state(place["rng"])
        self._start()
        for _ in range(place["taken"]):
            next(self)

    def _start(self) -> None:
        self._rng = get_rng_state()
        self._iterator = iter(self.loader)
        self._taken = 0
