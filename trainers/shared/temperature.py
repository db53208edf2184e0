"""One temperature for scores: softmax(scores / T), and the T with the lowest NLL.

Shapes: N images, C classes. All in numpy's float64.
"""

from __future__ import annotations

import math

import numpy as np

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
_HALVINGS = 50  # of the interval above: to the last digit of float64


def probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return softmax(scores / temperature) `[N, C]`, in which a confidence of exactly 1 is rare.

    Raises:
        ValueError: no images, NaN or infinity among the scores.
    """
    return np.exp(log_probabilities(scores, temperature))


def log_probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the logarithm of `probabilities` `[N, C]`. Raises ValueError as there."""
    scaled = np.asarray(scores, dtype=np.float64) / temperature
    if not scaled.size:
        raise ValueError("there are no scores to calibrate: the run tested no images")
    if not np.isfinite(scaled).all():
        raise ValueError("scores with NaN or infinity cannot be calibrated: the run that made them has diverged")
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def fit_temperature(scores: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature with the lowest NLL on scores `[N, C]` of images that the model has not learned from.

    The NLL is convex in 1/T, so its slope has one zero at most. Where it has none (every image is right, or chance does
    better than the scores), this is the nearer of `LOWEST_TEMPERATURE` and `HIGHEST_TEMPERATURE`.
    """
    scores = np.asarray(scores, dtype=np.float64)
    of_true = scores[np.arange(len(true)), true]
    low, high = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        slope = np.mean(np.sum(probabilities(scores, 1 / middle) * scores, axis=1) - of_true)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / math.sqrt(low * high)
