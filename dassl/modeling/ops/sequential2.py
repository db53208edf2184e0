"""A sequence of modules that may take and give several tensors."""

from __future__ import annotations

from typing import Any

from torch import nn


class Sequential2(nn.Sequential):
    """An `nn.Sequential` that hands a tuple on as several arguments."""

    def forward(self, *inputs: Any) -> Any:
        """Return what the last module returns."""
        value: Any = inputs
        for module in self:
            value = module(*value) if isinstance(value, tuple) else module(value)
        return value
