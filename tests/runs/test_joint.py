"""One label space: the measures against golden numbers and plain pairs; which classes are base."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs import joint

DATA = Path(__file__).parents[1] / "data/joint.npz"  # of the two papers' own functions
GOLDEN = {
    "accuracy": "decoop/Acc",
    "com_base": "decoop/ComBase",
    "com_new": "decoop/ComNew",
    "base": "decoop/base_acc",
    "new": "decoop/new_acc",
    "hm": "decoop/H",
    "joint_hm": "own/joint_hm",
    "base_to_new": "own/base_to_new_rate",
    "new_to_base": "own/new_to_base_rate",
    "auroc": "ow/AUROC",
    "openworld_auc": "ow/OpenworldAUC",
}


def test_every_measure_has_its_golden_value():
    with np.load(DATA) as content:
        golden = dict(content)
    base = np.arange(9) < 5
    found = joint.measures(golden["logits"], golden["labels"], base, golden["score"])
    assert found.keys() == GOLDEN.keys()
    for name, key in GOLDEN.items():
        np.testing.assert_allclose(
            found[name], golden[key] * (100 if key.startswith("ow/") else 1), rtol=1e-9, err_msg=name
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_openworld_auc_counts_pairs_and_ties_half(seed):
    generator = np.random.default_rng(seed)
    z, true = generator.normal(size=(12, 4)).round(0), generator.integers(0, 4, 12)
    true[:2] = 0, 3
    base = np.array([True, False, True, False])
    r = joint.base_score(z, base).round(1)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(joint.base_score(z, base), np.maximum(p[:, 0], p[:, 2]), rtol=1e-12)
    own = [(0, 2) if base[label] else (1, 3) for label in true]
    right = [max(classes, key=lambda c, i=i: z[i, c]) == true[i] for i, classes in enumerate(own)]
    pairs = [(i, j) for i in range(12) for j in range(12) if base[true[i]] and not base[true[j]]]
    wins = {(i, j): (r[i] > r[j]) + 0.5 * (r[i] == r[j]) for i, j in pairs}
    found = joint.measures(z, true, base, r)
    assert found["auroc"] == pytest.approx(100 * np.mean(list(wins.values())))
    assert found["openworld_auc"] == pytest.approx(100 * np.mean([wins[i, j] * right[i] * right[j] for i, j in pairs]))


@pytest.mark.parametrize(
    ("names", "trained", "base"),
    [("abcde", None, "abc"), ("abcde", ["b", "e"], "be"), ("abca", ["a", "b"], "aba"), ("abc", ["a", "b", "c"], None)],
)
def test_a_class_is_base_by_its_name(names, trained, base):
    trainer = SimpleNamespace(lab2cname=dict(enumerate(names)), trained_classes=trained)
    if base is None:
        with pytest.raises(
            ValueError, match=r"^TASK JOINT: 3 of the 3 classes were trained on.*: test a model of base"
        ):
            joint.sides(trainer)
    else:
        assert "".join(np.array(list(names))[joint.sides(trainer)]) == base


def test_both_sides_must_have_images():
    z, base = np.eye(3), np.array([True, True, False])
    with pytest.raises(ValueError, match="^TASK JOINT: no image that was tested is of a new class"):
        joint.measures(z[:2], np.array([0, 1]), base, np.ones(2))


def test_a_trainer_of_another_kind_has_one_rule(capsys):
    """Of the scores that its evaluator kept by batch."""
    evaluator = SimpleNamespace(scores=[np.eye(4)[:3], np.eye(4)[2:3]], _y_true=[0, 1, 2, 3])
    found = joint.results(SimpleNamespace(evaluator=evaluator), np.array([True, True, False, False]))
    assert list(found) == ["own scores"] and found["own scores"]["com_new"] == 50
    assert "=> joint result (own scores)\n* accuracy: 75.0%\n" in capsys.readouterr().out
