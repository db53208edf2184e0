"""Cross-entropy under the public Dassl's signature."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dassl.utils.tools import check_availability


def cross_entropy(input: Tensor, target: Tensor, label_smooth: float = 0, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of scores `[B, C]` and labels `[B]`, smoothed by `label_smooth`.

    `reduction` is mean, sum or none; ValueError otherwise.
    """
    check_availability(reduction, ("mean", "sum", "none"))
    return F.cross_entropy(input, target, reduction=reduction, label_smoothing=label_smooth)
