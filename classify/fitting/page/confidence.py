"""The page's section on confidence: whether it can be trusted, and what is gained by leaving images undecided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from reporting.plots.reliability import reliability

from .html import fold, number, plot, table
from .load import Fit

REJECT_BELOW = (0, 0.5, 0.7, 0.8, 0.9, 0.95)


def section(fit: Fit) -> Iterator[str]:
    """Yield reliability diagrams before and after calibration, and accuracy where the least certain are left out."""
    told = fit.content["calibration"]
    yield (
        "<p>Of images with a confidence of 80%, 80% should be right: bars on the dashed line. Calibration divides the "
        f"scores by a temperature, here {told['temperature']:.3g}; no prediction changes by it.</p>"
    )
    plots = [
        plot(f"Reliability {when} calibration, ECE {told[f'ece_{when}']:.1f}%", reliability(told[f"bins_{when}"]))
        for when in ("before", "after")
    ]
    yield f'<div class="plots">{"".join(plots)}</div>'
    rows = [_bin(*pair) for pair in zip(told["bins_before"], told["bins_after"], strict=True)]
    headers = "Confidence", "Images before", "Right before", "Images after", "Right after"
    numbers = table(headers, [row for row in rows if row], "The bins of both diagrams, in percent")
    yield fold("Show the numbers", numbers)
    values = np.array([one.confidence for one in fit.predictions])
    right = np.array([one.right for one in fit.predictions])
    yield table(
        ("Confidence from", "Images decided", "Accuracy"),
        [_decided(right[values >= least], len(right), least) for least in REJECT_BELOW],
        "If less certain images are left undecided, in percent",
    )


def _bin(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a row on a bin before and after calibration; nothing if it is empty in both."""
    if not before["images"] and not after["images"]:
        return []
    cells = [f"{100 * before['low']:.0f} to {100 * before['high']:.0f}"]
    for row in (before, after):
        cells += [str(row["images"]), number(None if row["accuracy"] is None else 100 * row["accuracy"])]
    return cells


def _decided(right: np.ndarray, total: int, least: float) -> list[str]:
    accuracy = number(100 * right.mean()) if len(right) else "-"
    return [f"{100 * least:.0f}", number(100 * len(right) / total), accuracy]
