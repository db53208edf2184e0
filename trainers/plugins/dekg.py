"""DeKg: Divergence-enhanced Knowledge-guided context optimisation (ICLR 2025).

The loss adds mu times HSIC(t, T0), the dependence between the C learned class features and frozen CLIP's (the Hilbert-
Schmidt independence criterion of linear kernels): with A and B divided by their Frobenius norms and H = I - 1 1^T / C,

    HSIC(A, B) = trace(H A A^T H B B^T) = |(H A)^T (H B)|_F^2.

As in the official code: no factor (C - 1)^-2; over all classes, whatever the batch; the learned features are of unit
length on KgCoOp, and as the text tower gives them on TCP. KgCoOp's W and TCP's 8 stay the hosts' own (the official
DeKg_TCP reads TRAINER.COOP.W there). mu is the official LOSS.WEIGHT, here TRAINER.DEKG.LOSS_WEIGHT: 6, as in the
release's script for all data sets (its README's example has 2). Other than there: the term is computed in float32, as
half precision loses up to half of its gradient; nothing is profiled within a step.

Shapes: C classes, d joint width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from clip.layers import no_autocast

from ..shared.cosine import at_least_float32, l2_normalize
from ..tcp import TCPModel
from .contract import Plugin, Step


class DeKg(Plugin):
    """The term; it learns nothing itself."""

    needs = ("features", "teacher")

    def loss(self, step: Step, loss: Tensor) -> Tensor:
        """Return the loss so far + mu HSIC(t, T0)."""
        return loss + self.settings.loss_weight * self.term(step.host, step.class_features)

    @staticmethod
    def term(host: Any, t: Any) -> Tensor:
        """Return HSIC of a host's learned class features ``[C, d]``, as they are, and its frozen ones."""
        return hsic(t if isinstance(host, TCPModel) else l2_normalize(t), host.text_features_clip)


def hsic(a: Tensor, b: Tensor) -> Tensor:
    """Return HSIC of features ``[C, d]``, a scalar in [0, 1]."""
    with no_autocast(a):
        a, b = (at_least_float32(x) for x in (a, b))
        a, b = (x / x.norm() for x in (a, b))
        a, b = (x - x.mean(dim=0) for x in (a, b))
        return (a.t() @ b).square().sum()
