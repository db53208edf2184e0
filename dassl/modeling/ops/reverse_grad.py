"""The identity, whose gradient points the other way.

Source: Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.autograd import Function as Function


class _ReverseGrad(Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, grad_scaling: float) -> Tensor:
        ctx.grad_scaling = grad_scaling
        return input.view_as(input)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return -ctx.grad_scaling * grad_output, None


class ReverseGrad(nn.Module):
    """Passes its input on, and the gradient back times `-grad_scaling`."""

    def forward(self, x: Tensor, grad_scaling: float = 1.0) -> Tensor:
        """Return `x`."""
        return _ReverseGrad.apply(x, grad_scaling)
