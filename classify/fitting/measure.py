"""What the runs on the folds say: accuracies with intervals, calibration, and every image's prediction."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score

from common.files import write_text
from common.text import as_csv
from reporting import calibration
from runs import record
from runs.results import PREDICTIONS
from trainers.shared.temperature import fit_temperature, probabilities

from .plan import Job

CURVE = 200  # points, at most, of the curve of accuracy over confidence


class Measured:
    """The predictions of a method on all folds.

    R repetitions, N images that are tested in each, C classes.

    Attributes:
        jobs: the runs.
        paths: of the images, sorted, and their labels `true` `[N]`.
        scores: log-probabilities `[R, N, C]`, and `predicted` labels `[R, N]`.
        fold: the fold that each image is tested in, by repetition `[R, N]`.
        seconds: of all runs.
        chosen: the settings that each run chose, if any.
    """

    def __init__(self, out: Path, jobs: Sequence[Job]) -> None:
        found: dict[int, dict[str, tuple[int, int, np.ndarray]]] = {}
        self.jobs = jobs
        records = [record.read(out / job.name) or {} for job in jobs]
        for job in jobs:
            assert job.place is not None
            repeat, fold = job.place
            with np.load(out / job.name / PREDICTIONS) as content:
                rows = zip(content["paths"].tolist(), content["true"].tolist(), content["scores"], strict=True)
                found.setdefault(repeat, {}).update({path: (true, fold, scores) for path, true, scores in rows})
        self.paths = sorted(found[1])
        tables = [[by_path[path] for path in self.paths] for _, by_path in sorted(found.items())]
        self.true = np.array([true for true, _, _ in tables[0]])
        self.fold = np.array([[fold for _, fold, _ in rows] for rows in tables])
        self.scores = np.array([[scores for _, _, scores in rows] for rows in tables])
        self.predicted = self.scores.argmax(axis=2)
        self.seconds = sum(content["wall_seconds"] for content in records)
        self.by_fold = [content["accuracy"] for content in records]
        self.chosen = [content["chosen"] for content in records if "chosen" in content]

    @property
    def correct(self) -> np.ndarray:
        """How often each image is right, `[N]` from 0 to 1: the mean over repetitions."""
        return (self.predicted == self.true).mean(axis=0)

    def accuracy(self) -> dict[str, float]:
        """Return the accuracy in percent with its 95% interval (Wilson) over images."""
        return interval(self.correct)

    def row(self) -> dict[str, Any]:
        """Return the method's row of `results`, means over repetitions; errors of calibration as the scores are."""
        labels = sorted(set(self.true.tolist()))
        each = [
            (
                100 * f1_score(self.true, predicted, average="macro", labels=labels, zero_division=0),
                calibration.expected_calibration_error(probabilities(scores), self.true),
                calibration.nll(scores, self.true),
            )
            for predicted, scores in zip(self.predicted, self.scores, strict=True)
        ]
        macro_f1, ece, nll = (float(mean) for mean in np.mean(each, axis=0))
        rest = {"macro_f1": macro_f1, "ece": ece, "nll": nll, "seconds": self.seconds, "folds": self.by_fold}
        return self.accuracy() | rest

    def of_class(self, label: int) -> float | None:
        """Return a class's accuracy in percent, None where none of its images is tested."""
        there = self.true == label
        return 100 * float(self.correct[there].mean()) if there.any() else None

    def confusion(self, classes: int) -> list[list[int]]:
        """Return counts `[true, predicted]` of the first repetition."""
        return confusion_matrix(self.true, self.predicted[0], labels=range(classes)).tolist()

    def final_settings(self) -> list[str]:
        """Return as `KEY VALUE` words the settings that the folds chose: the median of numbers, else the first."""
        keys = dict.fromkeys(key for chosen in self.chosen for key in chosen)
        values = {key: [chosen[key] for chosen in self.chosen] for key in keys}
        middle = {key: statistics.median_low(found) for key, found in values.items()}
        return [word for key, value in middle.items() for word in (key, str(value))]


def interval(correct: np.ndarray) -> dict[str, float]:
    """Return accuracy, low and high in percent of images that are right from 0 to 1: Wilson's interval, 95%."""
    hits = round(float(correct.sum()))
    found = binomtest(hits, len(correct)).proportion_ci(0.95, method="wilson")
    return {"accuracy": 100 * float(correct.mean()), "low": 100 * float(found.low), "high": 100 * float(found.high)}


def gain(measured: Measured, other: Measured) -> tuple[float, float, float]:
    """Return the difference of two accuracies in points on the same images, with its 95% interval (normal, paired)."""
    difference = 100 * (measured.correct - other.correct)
    half = 1.96 * float(difference.std(ddof=1)) / len(difference) ** 0.5
    return float(difference.mean()), float(difference.mean()) - half, float(difference.mean()) + half


def calibrate(measured: Measured, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `calibration.json` and what `fit.json` says of calibration, both of the first repetition.

    The curve's rows are confidence, accuracy of the images with at least that, and their share, all from 0 to 1.
    """
    scores, true = measured.scores[0], measured.true
    temperature = fit_temperature(scores, true)
    before, after = (probabilities(scores, t) for t in (1.0, temperature))
    confidence = after.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = 1 - calibration.risk_coverage(confidence, after.argmax(axis=1) == true)
    last = [k for k in range(len(order)) if k + 1 == len(order) or confidence[order[k + 1]] < confidence[order[k]]]
    kept = [last[i] for i in np.unique(np.linspace(0, len(last) - 1, CURVE).round().astype(int))]
    curve = [[float(confidence[order[k]]), float(right[k]), (k + 1) / len(order)] for k in kept]
    facts = {"temperature": temperature, "images": len(true), "curve": curve, "measured_on": text}
    return facts, {
        "temperature": temperature,
        "ece_before": calibration.expected_calibration_error(before, true),
        "ece_after": calibration.expected_calibration_error(after, true),
        "bins_before": calibration.bins(before, true),
        "bins_after": calibration.bins(after, true),
    }


def write_predictions(path: Path, measured: Measured, classes: Sequence[str], temperature: float) -> None:
    """Write each image's prediction in the first repetition; the confidence is after the temperature."""
    confidence = probabilities(measured.scores[0], temperature).max(axis=1)
    rows: Iterable[Any] = zip(
        measured.paths, measured.true, measured.predicted[0], confidence, measured.fold[0], strict=True
    )
    lines = ([name, classes[a], classes[b], f"{c:.6f}", fold] for name, a, b, c, fold in rows)
    write_text(path, as_csv([["path", "true", "predicted", "confidence", "fold"], *lines]))
