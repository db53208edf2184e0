"""RAdam under its public name and signature: torch's, whose numbers are those of the public one.

Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR 2020, algorithm 2. The public one,
the authors' code, decays the weights directly rather than through the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer as Optimizer


class RAdam(torch.optim.RAdam):
    """Adam whose adaptive rate is rectified, and which takes momentum steps until its variance is tractable."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        degenerated_to_sgd: bool = True,
    ) -> None:
        """ValueError for `degenerated_to_sgd` False: no step at all in the first ones."""
        if not degenerated_to_sgd:
            raise ValueError("RAdam takes momentum steps first: leave out degenerated_to_sgd=False")
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)
        self.degenerated_to_sgd = degenerated_to_sgd


class PlainRAdam(RAdam):
    """RAdam: the two public ones compute the same."""
