"""What a run's record says of the trainer that ran: accuracy, counts per class, size and cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

from runs.environment import device_name, peak_memory


def cost(trainer: Any) -> dict[str, Any]:
    """Device, peak memory and number of learned values of a run, whatever came out of it."""
    return {
        "device": device_name(trainer.device),
        "peak_memory": peak_memory(trainer.device),
        "learned_parameters": learned_parameters(trainer),
    }


def learned_parameters(trainer: Any) -> int:
    """Number of learned values, each shared one counted once."""
    unique = {
        id(parameter): parameter.numel()
        for name in trainer.get_model_names()
        for parameter in trainer._models[name].parameters()
        if parameter.requires_grad
    }
    return sum(unique.values())


def test_results(trainer: Any) -> dict[str, Any]:
    """The last test's results, from the true and predicted labels that the evaluator kept.

    Returns:
        accuracy and macro_f1 in percent, unrounded (macro_f1 over the classes that occur, as Dassl has it);
        total and correct; per class its name, total and correct.

    Raises:
        ValueError: nothing was tested.
    """
    from sklearn.metrics import f1_score

    true, predicted = trainer.evaluator._y_true, trainer.evaluator._y_pred
    if not true:
        raise ValueError("the test set is empty: nothing was tested")
    totals = Counter(true)
    hits = Counter(label for label, guess in zip(true, predicted, strict=True) if label == guess)
    correct = hits.total()
    return {
        "accuracy": 100.0 * correct / len(true),
        "macro_f1": 100.0 * float(f1_score(true, predicted, average="macro", labels=sorted(totals))),
        "total": len(true),
        "correct": correct,
        "per_class": [
            {"class": name, "total": totals[label], "correct": hits[label]}
            for label, name in sorted(trainer.lab2cname.items())
        ],
    }
