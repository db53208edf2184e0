"""Temperature scaling (Guo, Pleiss, Sun and Weinberger, ICML 2017): logits / T, with the T of the lowest NLL.

A mixture of probabilities, as MMRL's, has its logarithm for logits.

T is found on the validation images of the classes trained on, exactly; the public code of Wang et al. (ICML 2024)
comes within 0.006 of log 1/T by 20 epochs of SGD. Other classes have it too, and it is biased for them. Predictions
never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..shared.temperature import fit_temperature
from .contract import Labelled, Plugin, Seen, logits_of, scores_of


class Temperature(Plugin):
    """``temperature``, a scalar; 1 until it is fitted."""

    temperature: Tensor

    def __init__(self, host: Any, cfg: Any, classnames: Sequence[str]):
        super().__init__(host, cfg, classnames)
        self.register_buffer("temperature", torch.ones(()))

    def scores(self, seen: Seen, scores: Tensor) -> Tensor:
        """Return scores ``[B, C]`` of logits over T."""
        return scores_of(seen.host, logits_of(seen.host, scores) / self.temperature, scores)

    def fit(self, batches: Callable[[], Iterable[Labelled]]) -> None:
        """Find T on the scores so far of all validation images."""
        found = [(logits_of(one.seen.host, one.scores).float().cpu(), one.labels.cpu()) for one in batches()]
        logits, labels = (torch.cat(values).numpy() for values in zip(*found, strict=True))
        self.temperature.fill_(fit_temperature(logits, labels))
        print(f"Temperature: {self.temperature:.4f}, the lowest NLL of {len(labels)} validation images")
