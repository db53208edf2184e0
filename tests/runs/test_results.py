"""What the record says of a tested trainer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from runs import results


def fake_trainer(true: list[int], predicted: list[int], **models: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(
        evaluator=SimpleNamespace(_y_true=true, _y_pred=predicted),
        lab2cname={1: "one", 0: "zero", 2: "two"},
        get_model_names=lambda: list(models),
        _models=models,
        device=torch.device("cpu"),
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
    found = results.cost(fake_trainer([0], [0], a=first, b=second))
    assert found["learned_parameters"] == 6 + 2
    assert found["device"] == "cpu" and found["peak_memory"]["bytes"] > 10_000_000
