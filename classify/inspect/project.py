"""Features ``[N, d]`` in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .observe import Observed

SHOWN_CLASSES = 16  # more cannot be told apart in a plot
PERPLEXITY = 30


@dataclass
class Chosen:
    """What the plots show: places of images in all lists, and labels of classes, in the order of the legend."""

    images: list[int]
    classes: list[int]


def choose(found: Observed, points: int) -> Chosen:
    """Return all classes, or the ``SHOWN_CLASSES`` with the most errors, and at most ``points`` of their images."""
    present = found.most_wrong(set(found.true), SHOWN_CLASSES)
    places = [i for i, label in enumerate(found.true) if label in set(present)]
    if len(places) > points:
        places = [places[round(i)] for i in np.linspace(0, len(places) - 1, points)]
    return Chosen(places, present)


def pca(values: Any) -> tuple[np.ndarray, list[float]]:
    """Return the first two principal components ``[N, 2]`` of ``[N, d]``, and their shares of variance in percent.

    With fewer than two images or dimensions the missing components are zero.
    """
    from sklearn.decomposition import PCA

    parts = min(2, *values.shape)
    model = PCA(parts, svd_solver="full")
    flat = model.fit_transform(np.asarray(values, dtype=np.float64)) if len(values) > 1 else np.zeros((1, parts))
    shares = [100 * float(share) for share in model.explained_variance_ratio_] if len(values) > 1 else [0.0] * parts
    missing = 2 - flat.shape[1]
    return np.pad(flat, ((0, 0), (0, missing))), [*shares, *[0.0] * missing]


def tsne(values: Any) -> np.ndarray | None:
    """Return ``[N, 2]`` of ``[N, d]`` by t-SNE over cosines, with a fixed seed; None for fewer than four images."""
    from sklearn.manifold import TSNE

    count = len(values)
    if count < 4:
        return None
    model = TSNE(
        2, perplexity=min(PERPLEXITY, (count - 1) / 3), metric="cosine", init="random", random_state=0, n_jobs=1
    )
    return model.fit_transform(np.asarray(values, dtype=np.float64))
