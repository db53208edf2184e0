"""Whether the scores of a test are numbers: the class of the highest NaN is a prediction like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Soundness:
    """Looks at the scores of each batch, and says at the end what it saw: no batch waits for the device."""

    def __init__(self) -> None:
        self._sound: list[Tensor] = []  # [B] each
        self._names: list[str] = []

    def look(self, scores: Any, batch: Any) -> None:
        """Take in scores `[B, ...]` and the batch that they are of; what is no tensor of them is not judged."""
        if not isinstance(scores, Tensor) or not scores.dim():
            return
        paths = batch.get("impath") if isinstance(batch, Mapping) else None
        start = len(self._names)
        self._names += list(paths) if paths else [f"image {start + i + 1}" for i in range(len(scores))]
        low, high = scores.reshape(len(scores), -1).aminmax(dim=1)  # NaN where any is; one pass
        self._sound.append(low.isfinite() & high.isfinite())

    def check(self, method: str, split: str) -> None:
        """Raise FloatingPointError, naming method, split and first image, if any score was NaN or infinite."""
        if not self._sound:
            return
        sound = torch.cat(self._sound).tolist()
        if all(sound):
            return
        first = self._names[sound.index(False)]
        raise FloatingPointError(
            f"{method} gives {sound.count(False)} of {len(sound)} images of the {split} set scores that are NaN or "
            f"infinite, first {first}: this is no result; its training diverged, or PREC is too coarse: use fp32"
        )
