"""Calibration against golden numbers, scikit-learn, and cases done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from reporting import calibration
from trainers.shared.temperature import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, fit_temperature, probabilities

DATA = Path(__file__).parents[1] / "data/calibration.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA) as content:
        return dict(content)


def test_every_measure_has_its_golden_value(golden):
    scores, true = golden["logits"], golden["labels"]
    p = probabilities(scores)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == true
    for name, value in {
        "own/ece_l1/left": calibration.expected_calibration_error(p, true, 10),
        "own/ace/linear": calibration.adaptive_calibration_error(p, true, 10),
        "own/nll": calibration.nll(scores, true),
        "own/brier": calibration.brier(p, true),
        "own/risk_coverage": calibration.risk_coverage(confidence, correct),
        "own/aurc": calibration.aurc(confidence, correct),
        "ts/log_scale_nll_optimum": np.log(100 / fit_temperature(scores, true)),
    }.items():
        np.testing.assert_allclose(value, golden[name], rtol=1e-7, err_msg=name)
    assert golden["torchmetrics/l1"] == pytest.approx(golden["own/ece_l1/left"], rel=1e-6)  # that one is float32


def test_it_agrees_with_scikit_learn(golden):
    scores, true = golden["logits"], golden["labels"]
    p = probabilities(scores)
    assert calibration.nll(scores, true) == pytest.approx(log_loss(true, p))
    errors = []
    for label in range(p.shape[1]):
        accuracy, confidence = calibration_curve(true == label, p[:, label], n_bins=15)
        images = np.histogram(p[:, label], np.linspace(0, 1, 16))[0]
        errors.append(100 * np.sum(images[images > 0] * np.abs(accuracy - confidence)) / len(true))
    assert calibration.classwise_calibration_error(p, true) == pytest.approx(np.mean(errors))
    accuracy, confidence = calibration_curve(p.argmax(axis=1) == true, p.max(axis=1), n_bins=15)
    rows = [row for row in calibration.bins(p, true) if row["images"]]
    np.testing.assert_allclose([row["accuracy"] for row in rows], accuracy)
    np.testing.assert_allclose([row["confidence"] for row in rows], confidence)


def test_a_confidence_of_one_or_on_an_edge_counts_once():
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.3, 0.7]])
    true = np.array([0, 1, 1])
    rows = calibration.bins(p, true, 2)
    assert [row["images"] for row in rows] == [0, 3] and rows[0]["accuracy"] is None
    assert (rows[1]["low"], rows[1]["high"], rows[1]["accuracy"]) == (0.5, 1.0, pytest.approx(2 / 3))
    assert calibration.expected_calibration_error(p, true, 2) == pytest.approx(100 * (2.2 - 2) / 3)
    sure = np.array([[0.6, 0.4], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # the quantiles 0.6, 1 and 1 make one bin
    assert calibration.adaptive_calibration_error(sure, np.array([0, 0, 0, 1]), 2) == pytest.approx(15)


def test_the_temperature_undoes_one_and_stays_in_its_bounds(golden):
    scores, true = golden["logits"], golden["labels"]
    one = fit_temperature(scores, true)
    assert fit_temperature(3 * scores, true) == pytest.approx(3 * one)
    assert fit_temperature(np.eye(4), np.arange(4)) == pytest.approx(LOWEST_TEMPERATURE)
    assert fit_temperature(-np.eye(4), np.arange(4)) == pytest.approx(HIGHEST_TEMPERATURE)


def test_the_most_confident_are_kept_first():
    confidence, correct = np.linspace(1, 0.5, 100), np.arange(100) < 7
    assert calibration.accuracy_at_coverage(confidence, correct, 0.07) == 100
    assert calibration.accuracy_at_coverage(confidence, correct, 1) == pytest.approx(7)
    assert calibration.accuracy_at_coverage(np.ones(100), correct, 0.07) == 100  # equal ones keep their order


@pytest.mark.parametrize(("scores", "why"), [(np.zeros((0, 3)), "no images"), ([[np.nan, 1.0]], "diverged")])
def test_scores_that_say_nothing_are_refused(scores, why):
    with pytest.raises(ValueError, match=why):
        probabilities(scores)
