"""Whether tensors hold numbers: one NaN among weights makes every score NaN, and every prediction the first class."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor


def describe_nonfinite(tensors: Mapping[str, Tensor]) -> str:
    """Name the tensors that hold NaN or infinity, ``""`` where there are none.

    One pass over each without a copy: the lowest and the highest value are NaN where any value is.
    """
    bad = [name for name, value in tensors.items() if not is_finite(value)]
    more = f" and {len(bad) - 1} more tensors" if len(bad) > 2 else f" and {bad[1]}" if len(bad) == 2 else ""
    return f"{bad[0]}{more} {'hold' if more else 'holds'} NaN or infinity" if bad else ""


def is_finite(values: Tensor) -> bool:
    """Return whether all values are finite. Waits for a device that they are on."""
    if not values.numel() or not values.is_floating_point():
        return True
    if values.element_size() == 1:  # the eight-bit kinds have no arithmetic of their own
        values = values.float()
    return all(math.isfinite(bound.item()) for bound in values.aminmax())
