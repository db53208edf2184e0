"""The MLP of frozen layers: gradients flow through it to its input, none is kept for its weights.

QuickGELU is ``silu(a x) / a`` with a = 1.702. Both factors ride along with the matrix products, so that the activation
is one pass over the hidden states, only its input is saved, and in the backward pass the factors cancel. Plain GELU
goes the same way with a = 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SLOPE = 1.702


def frozen_mlp(x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, quick: bool = True) -> Tensor:
    """Return ``w_out act(w_in x + b_in) + b_out`` for ``x`` ``[..., d]``; frozen weights ``[h, d]``, ``[d, h]``.

    The activation is QuickGELU, or with ``quick=False`` GELU (the exact one, not its tanh approximation). Computed in
    the weights' dtype. No gradient reaches the weights, so they must not ask for one; a gradient of the gradient
    raises RuntimeError.
    """
    rows = x.flatten(0, -2).to(w_in.dtype)
    if torch.is_grad_enabled() and x.requires_grad:
        out = _FrozenMLP.apply(rows, w_in, b_in, w_out, b_out, quick)
    else:
        scaled = _project_in(rows, w_in, b_in, quick)
        hidden = F.silu(scaled, inplace=True) if quick else torch.ops.aten.gelu_(scaled)
        out = _project_out(hidden, w_out, b_out, quick)
    return out.unflatten(0, x.shape[:-1])


def _project_in(x: Tensor, weight: Tensor, bias: Tensor, quick: bool) -> Tensor:
    slope = SLOPE if quick else 1
    return torch.addmm(bias, x, weight.t(), beta=slope, alpha=slope)


def _project_out(hidden: Tensor, weight: Tensor, bias: Tensor, quick: bool) -> Tensor:
    return torch.addmm(bias, hidden, weight.t(), alpha=1 / SLOPE if quick else 1)


class _FrozenMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, quick: bool) -> Tensor:
        scaled = _project_in(x, w_in, b_in, quick)
        ctx.save_for_backward(scaled, w_in, w_out)
        ctx.quick = quick
        return _project_out(F.silu(scaled) if quick else F.gelu(scaled), w_out, b_out, quick)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: what is saved here has no graph, the result would be wrong
            raise RuntimeError("frozen layers have no second derivatives: call backward without create_graph")
        scaled, w_in, w_out = ctx.saved_tensors
        hidden = grads[0].to(w_out.dtype) @ w_out
        derivative = torch.ops.aten.silu_backward if ctx.quick else torch.ops.aten.gelu_backward
        return derivative(hidden, scaled) @ w_in, None, None, None, None, None
