"""Gradients of one loss that do not contradict those of another.

Source: Zhu et al., Prompt-aligned Gradient for Prompt Tuning, ICCV 2023, equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def aligned_gradients(
    loss_a: Tensor, loss_b: Tensor, parameters: Sequence[nn.Parameter], lambda_: float = 1
) -> list[Tensor | None]:
    """Return the gradients g_a of `loss_a`, less `lambda_` times their part along g_b where that points against g_b.

    Each parameter is one vector. Where g_b is zero or missing, g_a is left as it is; a parameter that `loss_a` does
    not depend on has None.
    """
    against = torch.autograd.grad(loss_b, parameters, retain_graph=True, allow_unused=True)
    wanted = torch.autograd.grad(loss_a, parameters, allow_unused=True)
    return [_align(g_a, g_b, lambda_) for g_a, g_b in zip(wanted, against, strict=True)]


def _align(g_a: Tensor | None, g_b: Tensor | None, lambda_: float) -> Tensor | None:
    if g_a is None or g_b is None:
        return g_a
    unit = g_b / torch.linalg.vector_norm(g_b)
    along = torch.dot(g_a.flatten(), unit.flatten())
    return g_a - lambda_ * along * unit if along < 0 else g_a  # NaN, of a zero g_b, is not below 0
