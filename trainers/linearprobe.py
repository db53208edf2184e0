"""Linear-probe CLIP (Radford et al., 2021) as CoOp's ``lpclip`` does it: logistic regression on image features.

Features are the image tower's after the joint projection, not normalised, without augmentation; the classifier is
scikit-learn's multinomial logistic regression (L-BFGS, at most 1000 iterations), which minimises
1/2 |W|^2 + C sum of log-losses. C is searched on validation images: a coarse grid, then ``SEARCH_STEPS`` times both
ends of an interval are fitted, the better end stays (the left one if equal) and the other moves to their logarithmic
middle. The end that stays in the last step is the classifier, not the best C ever seen, as in the release.

Where the release differs: it draws training and validation images itself, from the whole lists with NumPy's generator
(``SAMPLING official``); by default the run's few-shot draw is taken, as by all other methods, with as many images. For
ImageNet its validation images are test images (``SELECTION test_as_published``); by default training images that were
not drawn serve. Few-shot only: the head has the classes trained on, and no others can be scored.

Shapes: B images, N images of a list, C classes, d joint width.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.cosine import frozen_features
from .shared.features import (
    FittedTrainer,
    features_of_batches,
    loader_of,
    places_among,
    validation_images,
    whole_dataset,
)
from .shared.method import Method

COARSE = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
MAX_ITERATIONS = 1000
MAX_VAL_SHOTS = 4
Arrays = tuple[np.ndarray, np.ndarray]  # features [N, d] in float64, labels [N]


class LinearProbeModel(Method):
    """The head over frozen CLIP: ``coef`` ``[C, d]`` and ``intercept`` ``[C]``, scikit-learn's in float32."""

    coef: Tensor
    intercept: Tensor

    def __init__(self, clip_model: CLIP, classnames: Sequence[str]):
        super().__init__(clip_model)
        self.classnames, self.places = list(classnames), list(range(len(classnames)))
        self.register_buffer("coef", torch.zeros(len(classnames), clip_model.visual.output_dim))
        self.register_buffer("intercept", torch.zeros(len(classnames)))

    def set_head(self, classifier: LogisticRegression) -> None:
        """Take a fitted classifier's head. Two classes have one row there, here the first class gets zeros."""
        for own, fitted in ((self.coef, classifier.coef_), (self.intercept, classifier.intercept_)):
            rows = torch.from_numpy(fitted).to(own)
            own.copy_(torch.cat([torch.zeros_like(rows), rows]) if len(rows) == 1 else rows)

    def class_features(self) -> None:
        """Return None: the head needs none. Raises ValueError where it has other classes than those to score."""
        if not self.places:
            self.use_classes(seen=False)

    def scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Return the log-odds ``[B, C]``."""
        features = frozen_features(self.clip_model, images)
        order = torch.tensor(self.places, device=features.device).argsort()
        with no_autocast(features):
            return (features @ self.coef.t() + self.intercept).index_select(1, order)

    def use_classes(self, seen: bool) -> None:
        """Raise ValueError for classes that the head was not fitted to."""
        if not seen:
            raise ValueError(
                "LinearProbe cannot score new classes: its head has the classes it was fitted to, and no others; "
                "test it on those, or take another method"
            )

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on the size of a checkpoint's head and the order of its classes."""
        self.places = places_among(self.classnames, self.classnames if classnames is None else classnames) or []
        for name in ("coef", "intercept"):
            if name in tensors:
                value = getattr(self, name)
                value.data = value.new_zeros(tensors[name].shape)


def regression(c: float) -> LogisticRegression:
    """Return the classifier with this C, not fitted."""
    return LogisticRegression(solver="lbfgs", max_iter=MAX_ITERATIONS, C=c)


def search(train: Arrays, val: Arrays, steps: int) -> LogisticRegression:
    """Return the classifier that the search for C ends with."""
    fitted: dict[float, tuple[LogisticRegression, float]] = {}  # fits start at zero: equal C, equal result

    def fit(c: float) -> tuple[LogisticRegression, float]:
        if c not in fitted:
            classifier = regression(c).fit(*train)
            fitted[c] = classifier, float(np.mean(classifier.predict(val[0]) == val[1]))
            print(f"C {c:.4g}: validation accuracy {100 * fitted[c][1]:.2f}%")
        return fitted[c]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        found = _search(fit, steps)
    stopped = 0
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            stopped += 1
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if stopped:
        print(f"Note: {stopped} of {len(fitted)} fits stopped after {MAX_ITERATIONS} iterations, as the release's do")
    return found


def _search(fit: Callable[[float], tuple[LogisticRegression, float]], steps: int) -> LogisticRegression:
    start = max(COARSE, key=lambda c: fit(c)[1])  # the first of equals
    left, right = 0.1 * start, 10 * start
    kept, _ = fit(start)
    for _ in range(steps):
        (of_left, at_left), (of_right, at_right) = fit(left), fit(right)
        middle = float(10 ** (0.5 * (np.log10(left) + np.log10(right))))
        if at_left < at_right:
            kept, left = of_right, middle
        else:
            kept, right = of_left, middle
    return kept


def draw(items: Sequence[Any], shots: int, generator: np.random.RandomState) -> list[Any]:
    """Return ``shots`` images of each label, in the labels' order, without replacement; all where there are fewer."""
    labels = np.asarray([item.label for item in items])
    found: list[int] = []
    for label in np.unique(labels):
        places = np.where(labels == label)[0]
        found += generator.choice(places, size=min(shots, len(places)), replace=False).tolist()
    return [items[i] for i in found]


@TRAINER_REGISTRY.register()
class LinearProbe(FittedTrainer):
    """Trainer of linear-probe CLIP: features of the few-shot images, the search for C, the head."""

    registered_name = "linear_probe"
    on_frozen_features = True

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError naming the key whose value is not allowed."""
        super().check_cfg(cfg)
        if self.settings_of(cfg).sampling == "official" and (cfg.DATASET.NUM_SHOTS < 1 or cfg.SEED < 0):
            raise ValueError("TRAINER.LINEARPROBE.SAMPLING official needs DATASET.NUM_SHOTS of at least 1 and a SEED")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> LinearProbeModel:
        """Return a head of zeros for these classes."""
        return LinearProbeModel(clip_model, classnames)

    def fit(self) -> None:
        """Fit with the C of the settings, or search it, and keep the head."""
        if self.settings.c:
            self.model.set_head(regression(self.settings.c).fit(*self._arrays(self.dm.dataset.train_x)))
            return
        train, val = (self._arrays(items) for items in self.images())
        found = search(train, val, self.settings.search_steps)
        self.model.set_head(found)
        self.chosen = {self.settings.key("C"): float(found.C)}

    def images(self) -> tuple[list[Any], list[Any]]:
        """Return the images to fit to, and those that C is chosen on."""
        how, shots, dataset = self.settings, self.cfg.DATASET.NUM_SHOTS, self.dm.dataset
        if (how.sampling, how.selection) == ("run", "val"):
            return dataset.train_x, validation_images(self.cfg, dataset, few=True)
        whole, train = whole_dataset(self.cfg), dataset.train_x
        generator = np.random.RandomState(max(self.cfg.SEED, 0))
        if how.sampling == "official":
            train = draw(whole.train_x, shots, generator)
        if how.selection == "val":
            val = validation_images(self.cfg, dataset, few=False, train=train)
        else:
            val = whole.val or whole.test
        return train, draw(val, min(shots, MAX_VAL_SHOTS), generator) if shots > 0 else val

    def _arrays(self, items: list[Any]) -> Arrays:
        found = features_of_batches(self.model.clip_model, loader_of(self.cfg, items, self.dm.test_loader))
        return found.values.double().cpu().numpy(), found.labels.cpu().numpy()
