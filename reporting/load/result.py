"""One tested run, wherever it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """What a table compares: a method under one configuration, run here or read from another repository's log."""

    method: str
    variant: str = ""  # what differs from the method's default configuration
    foreign: bool = False

    @property
    def label(self) -> str:
        """The row's name in a table, such as `MMRL [+ALPHA=0.5]`."""
        return self.method + (f" [{self.variant}]" if self.variant else "") + (" (log)" if self.foreign else "")

    @property
    def changes(self) -> dict[str, str]:
        """The changed settings that the variant shows: `+ALPHA=0.5+REP_DIM=32` has two."""
        return {text.partition("=")[0]: text.partition("=")[2] for text in self.variant.split("+")[1:]}


class Key(NamedTuple):
    """What a cell holds; results of one key differ by their seed alone."""

    protocol: str  # a key of runs.protocols.PROTOCOLS
    backbone: str  # such as ViT-B/16
    row: Row
    source: str  # the data set trained on, named as its configuration
    dataset: str  # the data set tested
    part: str  # of its classes: base, new or all
    shots: int


@dataclass(frozen=True)
class Result:
    """One tested run.

    Attributes:
        accuracy: in percent, unrounded.
        path: the folder of the run's record, or the log file.
        record: the run's record; empty for a log.
    """

    key: Key
    seed: int
    accuracy: float
    path: Path
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Mapping[str, Any]:
        """Every setting that can change the result, flat; empty for a log."""
        return self.record.get("config", {})
