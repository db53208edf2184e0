"""Running averages for the log lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch


class AverageMeter:
    """Last value and average of a scalar; with `ema` the average is exponential, 0.9 old + 0.1 new."""

    def __init__(self, ema: bool = False) -> None:
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.val = 0.0
        self.avg = 0.0
        self.sum = 0.0
        self.count = 0

    def update(self, val: float | torch.Tensor, n: int = 1) -> None:
        """Add `val` (a number or one-element tensor), which stands for the mean of `n` samples."""
        value = val.item() if isinstance(val, torch.Tensor) else val
        first = self.count == 0
        self.val = value
        self.sum += value * n
        self.count += n
        if self.ema and not first:
            self.avg = 0.9 * self.avg + 0.1 * value
        else:
            self.avg = self.sum / self.count


class MetricMeter:
    """A dictionary of average meters, printed as `name last (average)` joined by `delimiter`."""

    def __init__(self, delimiter: str = " ") -> None:
        self.meters: defaultdict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: Mapping[str, float | torch.Tensor] | None) -> None:
        """Update the meter of each name; None is ignored, anything but a mapping raises TypeError."""
        if input_dict is None:
            return
        if not isinstance(input_dict, Mapping):
            raise TypeError(f"MetricMeter.update needs a dict of scalars, got {type(input_dict).__name__}")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())
