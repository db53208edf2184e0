"""How far confidence can be trusted: calibration errors, proper scores, selective prediction.

Shapes: N images, C classes. Scores are what a run's test compares, before the softmax. Confidence is the probability of
the predicted class. Errors are in percent, as tables show them; bins are [a, b), and the last one holds 1 as well.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainers.shared.temperature import log_probabilities, probabilities

BINS = 15
COVERAGES = (95, 90, 80)  # of images that are not rejected, in percent


def expected_calibration_error(p: np.ndarray, true: np.ndarray, bins: int = BINS) -> float:
    """Return ECE in percent: sum_b n_b/N |accuracy_b - confidence_b| over equal-width bins (Guo et al. 2017, eq. 3)."""
    return _error(*_confidence_and_hits(p, true), np.linspace(0, 1, bins + 1))


def adaptive_calibration_error(p: np.ndarray, true: np.ndarray, bins: int = BINS) -> float:
    """Return the ECE in percent over bins of equal mass; edges are numpy's linear quantiles, equal ones merged."""
    confidence, correct = _confidence_and_hits(p, true)
    return _error(confidence, correct, np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1))))


def classwise_calibration_error(p: np.ndarray, true: np.ndarray, bins: int = BINS) -> float:
    """Return the mean over classes of the ECE, in percent, of "is of this class" (Kull et al. 2019)."""
    edges = np.linspace(0, 1, bins + 1)
    return float(np.mean([_error(p[:, label], np.asarray(true) == label, edges) for label in range(p.shape[1])]))


def nll(scores: np.ndarray, true: np.ndarray, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the true classes, natural logarithm, of scores `[N, C]`."""
    return -float(np.mean(log_probabilities(scores, temperature)[np.arange(len(true)), true]))


def brier(p: np.ndarray, true: np.ndarray) -> float:
    """Return Brier's score summed over classes, from 0 to 2: scikit-learn's with `scale_by_half=False`."""
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[true]) ** 2, axis=1)))


def bins(p: np.ndarray, true: np.ndarray, number: int = BINS) -> list[dict[str, Any]]:
    """Return the rows of a reliability diagram, one for each equal-width bin.

    Each has `low`, `high`, `images`, and `confidence` and `accuracy` from 0 to 1 (None where there are no images).
    """
    edges = np.linspace(0, 1, number + 1)
    counts, sums, hits = _sums(*_confidence_and_hits(p, true), edges)
    return [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "images": int(counts[b]),
            "confidence": float(sums[b] / counts[b]) if counts[b] else None,
            "accuracy": float(hits[b] / counts[b]) if counts[b] else None,
        }
        for b in range(number)
    ]


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return `[N]` the error rate, from 0 to 1, among the k most confident images, for k from 1 to N."""
    order = np.argsort(-np.asarray(confidence), kind="stable")
    return np.cumsum(~np.asarray(correct, dtype=bool)[order]) / np.arange(1, len(order) + 1)


def aurc(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the area under the risk-coverage curve, from 0 to 1: the mean of `risk_coverage`."""
    return float(np.mean(risk_coverage(confidence, correct)))


def accuracy_at_coverage(confidence: np.ndarray, correct: np.ndarray, coverage: float) -> float:
    """Return the accuracy in percent of the most confident images that make up a part `coverage` in (0, 1]."""
    kept = math.ceil(round(coverage * len(correct), 6))  # 0.07 * 100 is a little above 7
    return 100 * (1 - float(risk_coverage(confidence, correct)[kept - 1]))


def summary(scores: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return all of the above by name, for scores `[N, C]` and labels `[N]`, with accuracies at 95, 90 and 80 %."""
    p = probabilities(scores)
    confidence, correct = _confidence_and_hits(p, true)
    return {
        "ece": expected_calibration_error(p, true),
        "adaptive_ece": adaptive_calibration_error(p, true),
        "classwise_ece": classwise_calibration_error(p, true),
        "nll": nll(scores, true),
        "brier": brier(p, true),
        "aurc": aurc(confidence, correct),
        **{f"accuracy_at_{kept}": accuracy_at_coverage(confidence, correct, kept / 100) for kept in COVERAGES},
    }


def _confidence_and_hits(p: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return p.max(axis=1), p.argmax(axis=1) == np.asarray(true)


def _sums(confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each bin its images, and their summed confidence and hits."""
    place = np.searchsorted(edges[1:-1], confidence, side="right")
    counts, sums, hits = (np.bincount(place, weights, len(edges) - 1) for weights in (None, confidence, correct))
    return counts, sums, hits


def _error(confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray) -> float:
    _, sums, hits = _sums(confidence, correct, edges)
    return 100 * float(np.abs(hits - sums).sum()) / len(confidence)
