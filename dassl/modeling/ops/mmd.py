"""Maximum mean discrepancy between two sets of features.

Source: Gretton et al., A Kernel Two-Sample Test, JMLR 2012, equation 3 (a mean over pairs of different samples).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dassl.metrics import euclidean_squared_distance
from dassl.utils.tools import check_availability


class MaximumMeanDiscrepancy(nn.Module):
    """`kernel_type` is rbf (the sum of three), linear or poly; with `normalize`, of unit features."""

    def __init__(self, kernel_type: str = "rbf", normalize: bool = False) -> None:
        super().__init__()
        check_availability(kernel_type, ("linear", "poly", "rbf"))
        self.kernel_type = kernel_type
        self.normalize = normalize

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the discrepancy of features `[M, D]` and `[N, D]`, a scalar."""
        if self.normalize:
            x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        return getattr(self, f"{self.kernel_type}_mmd")(x, y)

    def linear_mmd(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the discrepancy under the kernel x y."""
        return self._of_kernels(x @ x.T, y @ y.T, x @ y.T)

    def poly_mmd(self, x: Tensor, y: Tensor, alpha: float = 1.0, c: float = 2.0, d: float = 2) -> Tensor:
        """Return the discrepancy under the kernel (alpha x y + c)^d."""
        return self._of_kernels(*((alpha * a @ b.T + c).pow(d) for a, b in ((x, x), (y, y), (x, y))))

    def rbf_mmd(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the discrepancy under the kernel of `rbf_kernel_mixture`."""
        pairs = ((x, x), (y, y), (x, y))
        return self._of_kernels(*(self.rbf_kernel_mixture(self.euclidean_squared_distance(a, b)) for a, b in pairs))

    def _of_kernels(self, k_xx: Tensor, k_yy: Tensor, k_xy: Tensor) -> Tensor:
        return self.remove_self_distance(k_xx).mean() + self.remove_self_distance(k_yy).mean() - 2 * k_xy.mean()

    @staticmethod
    def rbf_kernel_mixture(exponent: Tensor, sigmas: Sequence[float] = (1, 5, 10)) -> Tensor:
        """Return the sum over sigmas of exp(-exponent / (2 sigma^2))."""
        return torch.stack([torch.exp(-exponent / (2 * sigma**2)) for sigma in sigmas]).sum(0)

    @staticmethod
    def remove_self_distance(distmat: Tensor) -> Tensor:
        """Return a square matrix `[N, N]` without its diagonal, `[N, N - 1]`."""
        size = len(distmat)
        others = ~torch.eye(size, dtype=torch.bool, device=distmat.device)
        return distmat[others].view(size, size - 1)

    @staticmethod
    def euclidean_squared_distance(x: Tensor, y: Tensor) -> Tensor:
        """Return the distances `[M, N]` of `dassl.metrics`."""
        return euclidean_squared_distance(x, y)
