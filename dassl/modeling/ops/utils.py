"""Small helpers of trainers with pseudo-labels, ramps and moving averages."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sharpen_prob(p: Tensor, temperature: float = 2) -> Tensor:
    """Raise probabilities `[B, C]` to the power `temperature` (not 1 / temperature), and renormalise."""
    sharp = p.pow(temperature)
    return sharp / sharp.sum(1, keepdim=True)


def reverse_index(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in reverse order."""
    return data.flip(0), label.flip(0)


def shuffle_index(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in the same random order."""
    order = torch.randperm(len(data))
    return data[order], label[order]


def create_onehot(label: Tensor, num_classes: int) -> Tensor:
    """Return labels `[B]` as float rows `[B, num_classes]` with one 1."""
    return torch.zeros(len(label), num_classes, device=label.device).scatter(1, label.unsqueeze(1).long(), 1.0)


def sigmoid_rampup(current: float, rampup_length: float) -> float:
    """Return exp(-5 (1 - t)^2) for the part t of the ramp that is done, at most 1."""
    return math.exp(-5 * (1 - linear_rampup(current, rampup_length)) ** 2)


def linear_rampup(current: float, rampup_length: float) -> float:
    """Return the part of the ramp that is done, from 0 to 1. ValueError for a ramp that is not longer than 0."""
    if rampup_length <= 0:
        raise ValueError(f"the length of a ramp must be positive, not {rampup_length}")
    return min(max(current / rampup_length, 0.0), 1.0)


@torch.no_grad()
def ema_model_update(model: nn.Module, ema_model: nn.Module, alpha: float) -> None:
    """Move the parameters of `ema_model` to alpha times their own and 1 - alpha times the model's."""
    for average, parameter in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.mul_(alpha).add_(parameter, alpha=1 - alpha)
