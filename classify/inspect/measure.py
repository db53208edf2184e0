"""Tables of what was observed: rows of plain values, in percent where they are shares.

Shapes: N images, C classes, d joint width.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from reporting import calibration

from .observe import ALPHAS, FROZEN, Observed

Row = dict[str, Any]


def summary(found: Observed) -> Row:
    """Return counts, the accuracies of the run and of zero-shot CLIP, and the alpha of the run's own scores."""
    return {
        "images": len(found.true),
        "classes": len(found.classes),
        "accuracy": _share(_hits(found, found.predicted).total(), len(found.true)),
        "zero_shot_accuracy": _share(_hits(found, found.zero_shot).total(), len(found.true)),
        "alpha": found.alpha,
    }


def confidence(found: Observed) -> Row:
    """Return how far confidence can be trusted, as `calibration.summary` does."""
    p = found.probabilities.double().numpy()
    return calibration.summary(np.log(np.maximum(p, np.finfo(np.float32).tiny)), np.array(found.true))


def reliability(found: Observed) -> list[Row]:
    """Return the bins of confidence, with the images in each, their mean confidence and how many are right."""
    return calibration.bins(found.probabilities.double().numpy(), np.array(found.true))


def per_class(found: Observed) -> list[Row]:
    """Return for each class its images, how many are right, both accuracies, the gain; None without images."""
    totals, hits, zero = Counter(found.true), _hits(found, found.predicted), _hits(found, found.zero_shot)
    return [
        {
            "class": name,
            "images": totals[label],
            "correct": hits[label],
            "accuracy": _share(hits[label], totals[label]),
            "zero_shot_accuracy": _share(zero[label], totals[label]),
            "gain": _share(hits[label] - zero[label], totals[label]),
        }
        for label, name in enumerate(found.classes)
    ]


def confusions(found: Observed) -> list[Row]:
    """Return the pairs of true and predicted class, most frequent first; share is of the true class's images."""
    totals = Counter(found.true)
    pairs = Counter((t, p) for t, p in zip(found.true, found.predicted, strict=True) if t != p)
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [
        {
            "true": found.classes[true],
            "predicted": found.classes[predicted],
            "images": count,
            "share": _share(count, totals[true]),
        }
        for (true, predicted), count in ordered
    ]


def matrix(found: Observed, labels: list[int]) -> tuple[np.ndarray, bool]:
    """Return the percent of each true class's images by predicted class, for the classes ``labels``.

    Returns ``[n, n]``, or ``[n, n + 1]`` and True where images went to other classes: the last column.
    """
    place = {label: at for at, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1))
    for true, predicted in zip(found.true, found.predicted, strict=True):
        if true in place:
            counts[place[true], place.get(predicted, len(labels))] += 1
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    others = bool(counts[:, -1].any())
    return shares if others else shares[:, :-1], others


def alphas(found: Observed) -> list[Row]:
    """Return the accuracy at each alpha: 1 is the class feature alone, 0 the representation feature alone."""
    total = len(found.true)
    pairs = zip(ALPHAS, found.alpha_hits, strict=True) if found.alpha_hits else ()
    return [{"alpha": alpha, "correct": hits, "accuracy": _share(hits, total)} for alpha, hits in pairs]


def cosines(found: Observed) -> list[Row]:
    """Return for each class the cosine of its feature with frozen CLIP's, and the mean cosine of its images.

    One column for each of the method's image features; None where there is nothing to compare.
    """
    own, nothing = found.own_classes, [None] * len(found.classes)
    labels = torch.tensor(found.true)
    columns: dict[str, list[Any]] = {"class feature": nothing if own is None else _cosines(own, found.frozen_classes)}
    for name, values in found.images.items():
        if name != FROZEN and values.shape == found.images[FROZEN].shape:
            each = torch.tensor(_cosines(values, found.images[FROZEN]))
            means = [each[labels == label] for label in range(len(found.classes))]
            columns[f"images: {name}"] = [one.mean().item() if len(one) else None for one in means]
    return [
        {"class": name, **{column: values[label] for column, values in columns.items()}}
        for label, name in enumerate(found.classes)
    ]


def _cosines(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    return (a * b).sum(dim=1).tolist()


def _hits(found: Observed, predicted: list[int]) -> Counter[int]:
    return Counter(t for t, p in zip(found.true, predicted, strict=True) if t == p)


def _share(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
