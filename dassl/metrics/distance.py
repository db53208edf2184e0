"""Distances between all rows of two matrices."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dassl.utils.tools import check_availability


def compute_distance_matrix(input1: Tensor, input2: Tensor, metric: str = "euclidean") -> Tensor:
    """Return the distances `[M, N]` of the rows of `input1` `[M, D]` and `input2` `[N, D]`.

    `metric` is euclidean (which is squared, as in the public Dassl) or cosine. ValueError for another metric, or
    matrices that do not fit.
    """
    check_availability(metric, _METRICS)
    if input1.dim() != 2 or input2.dim() != 2 or input1.shape[1] != input2.shape[1]:
        raise ValueError(f"need matrices of equally many columns, got {list(input1.shape)} and {list(input2.shape)}")
    return _METRICS[metric](input1, input2)


def euclidean_squared_distance(input1: Tensor, input2: Tensor) -> Tensor:
    """Return |a|^2 + |b|^2 - 2 a b for all rows a `[M, D]` and b `[N, D]`: `[M, N]`."""
    squares = input1.square().sum(1, keepdim=True) + input2.square().sum(1)
    return squares - 2 * input1 @ input2.T


def cosine_distance(input1: Tensor, input2: Tensor) -> Tensor:
    """Return 1 - cos(a, b) for all rows a `[M, D]` and b `[N, D]`: `[M, N]`."""
    return 1 - F.normalize(input1, dim=1) @ F.normalize(input2, dim=1).T


_METRICS = {"euclidean": euclidean_squared_distance, "cosine": cosine_distance}
