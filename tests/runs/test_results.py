"""What the record says of a tested trainer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dassl.busy import Waiting
from dassl.engine.tally import Tally
from runs import results


def fake_trainer(true: list[int], predicted: list[int], **models: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(
        evaluator=SimpleNamespace(_y_true=true, _y_pred=predicted),
        lab2cname={1: "one", 0: "zero", 2: "two"},
        get_model_names=lambda: list(models),
        _models=models,
        device=torch.device("cpu"),
        tally=Tally(ready=100.0),
        cfg=SimpleNamespace(TEST=SimpleNamespace(SAVE_SCORES=False)),
    )


def test_accuracy_macro_f1_and_counts_per_class():
    found = results.test_results(fake_trainer([0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0]))
    assert (found["total"], found["correct"], found["accuracy"]) == (7, 5, 500 / 7)
    # class 0: precision 2/3, recall 2/3; class 1: precision 3/4, recall 3/4; class 2 does not occur
    assert found["macro_f1"] == pytest.approx(100 * (2 / 3 + 3 / 4) / 2)
    assert found["per_class"] == [
        {"class": "zero", "total": 3, "correct": 2},
        {"class": "one", "total": 4, "correct": 3},
        {"class": "two", "total": 0, "correct": 0},
    ]


def test_an_empty_test_is_no_result():
    with pytest.raises(ValueError, match="nothing was tested"):
        results.test_results(fake_trainer([], []))


def test_a_shared_parameter_counts_once_and_a_frozen_one_not():
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.weight = first.weight
    second.bias.requires_grad_(False)
    found = results.cost(fake_trainer([0], [0], a=first, b=second), 0.0)
    assert found["learned_parameters"] == 6 + 2
    assert found["device"] == "cpu" and found["peak_memory"]["bytes"] > 10_000_000


def test_time_per_phase_and_rates():
    tally = Tally(ready=103.0, testing_seconds=4.0)
    tally.trained({"label": torch.zeros(8), "img": torch.zeros(8, 3)})
    tally.trained([torch.zeros(5)])  # a loader of unknown form is not guessed at
    tally.training.seconds = 0.2
    tally.waiting = {"training": Waiting(8.0, 2.0), "last_test": Waiting(2.0, None)}
    tally.last_test.images, tally.last_test.seconds = 50, 2.0
    assert results.times(tally, started=100.0, now=120.0) == {
        "phase_seconds": {"start_up": 3.0, "training": 13.0, "evaluation": 4.0},
        "ms_per_training_image": 25.0,
        "test_images_per_second": 25.0,
        "waited": {"training": 0.25, "last_test": None},
    }


def test_what_was_not_done_has_no_rate():
    found = results.times(Tally(ready=1.0), started=0.0, now=1.5)
    assert (found["ms_per_training_image"], found["test_images_per_second"]) == (None, None)


def test_a_test_is_timed_even_if_it_fails():
    tally = Tally()
    with tally.test() as first:
        first.images += 3
    with pytest.raises(KeyError), tally.test():
        raise KeyError
    assert tally.last_test.images == 0 and tally.testing_seconds >= first.seconds > 0


def test_predictions_are_kept(tmp_path):
    assert results.save_predictions(fake_trainer([0, 1, 2], [0, 2, 2]), tmp_path) == {"predictions": "predictions.npz"}
    with np.load(tmp_path / "predictions.npz") as kept:  # allow_pickle is off
        assert (kept["true"].tolist(), kept["predicted"].tolist()) == ([0, 1, 2], [0, 2, 2])
        assert kept["classes"].tolist() == ["zero", "one", "two"]
