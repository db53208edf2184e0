"""The tables of an inspection, against what is counted by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from classify.inspect import measure
from classify.inspect.observe import ALPHAS, FROZEN


def test_summary(seen):
    third = pytest.approx(50.0)
    wanted = {"images": 6, "classes": 4, "accuracy": 50.0, "zero_shot_accuracy": third, "alpha": 0.7}
    assert measure.summary(seen) == wanted


def test_confidence(seen):
    found = measure.confidence(seen)
    assert found["ece"] == pytest.approx(
        100 * (0.8 + 0.2 + 1) / 6
    )  # four of 0.7, half of them right; 0.8 right; 1 wrong
    assert found["aurc"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 2 / 4 + 3 / 5 + 3 / 6) / 6)
    assert math.isfinite(found["nll"]) and [row["images"] for row in measure.reliability(seen) if row["images"]] == [
        4,
        1,
        1,
    ]


def test_per_class(seen):
    rows = measure.per_class(seen)
    assert [(row["class"], row["images"], row["correct"]) for row in rows] == [
        ("cat", 3, 1),
        ("dog", 2, 1),
        ("owl", 1, 1),
        ("yak", 0, 0),
    ]
    assert [row["accuracy"] for row in rows] == [pytest.approx(100 / 3), 50.0, 100.0, None]
    assert [row["zero_shot_accuracy"] for row in rows] == [pytest.approx(100 / 3), 100.0, 0.0, None]
    assert [row["gain"] for row in rows] == [0.0, -50.0, 100.0, None]


def test_confusions_are_pairs_most_frequent_first(seen):
    assert measure.confusions(seen) == [
        {"true": "cat", "predicted": "dog", "images": 2, "share": pytest.approx(200 / 3)},
        {"true": "dog", "predicted": "cat", "images": 1, "share": 50.0},
    ]


def test_the_matrix_has_percent_of_the_true_class(seen):
    shares, others = measure.matrix(seen, [0, 1, 2, 3])
    third = 100 / 3
    assert not others and shares.tolist() == [
        [pytest.approx(third), pytest.approx(2 * third), 0, 0],
        [50, 50, 0, 0],
        [0, 0, 100, 0],
        [0, 0, 0, 0],
    ]
    shares, others = measure.matrix(seen, [0, 2])
    assert others and shares.tolist() == [[pytest.approx(third), 0, pytest.approx(2 * third)], [0, 100, 0]]


def test_alphas(seen):
    rows = measure.alphas(seen)
    assert [row["alpha"] for row in rows] == ALPHAS and (ALPHAS[0], ALPHAS[14], ALPHAS[-1]) == (0.0, 0.7, 1.0)
    assert rows[1] == {"alpha": 0.05, "correct": 1, "accuracy": pytest.approx(100 / 6)}
    assert measure.alphas(replace(seen, alpha_hits=[], alpha=None)) == []


def test_cosines(seen):
    rows = measure.cosines(seen)
    root = math.sqrt(0.5)
    assert [row["class feature"] for row in rows] == pytest.approx([1, 0, root, 0])
    assert [row["images: own"] for row in rows[:3]] == pytest.approx([(1 + 0 + root) / 3, 1, 0.6])
    assert rows[3]["images: own"] is None  # the class has no images
    bare = replace(seen, own_classes=None, images={FROZEN: seen.images[FROZEN]})
    assert measure.cosines(bare)[0] == {"class": "cat", "class feature": None}
