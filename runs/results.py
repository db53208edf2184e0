"""What a run's record says of the trainer that ran: accuracy, counts per class, size and cost."""

from __future__ import annotations

import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

from common.files import write_bytes
from runs.engine import OURS, macro_f1
from runs.environment import device_name, peak_memory
from runs.protocols import JOINT
from trainers.shared.lists import lists_of

PREDICTIONS = "predictions.npz"


def cost(trainer: Any, started: float) -> dict[str, Any]:
    """Return device, peak memory, number of learned values and time of a run, whatever came out of it.

    Args:
        started: when the attempt began, as `time.monotonic` has it. What an earlier attempt did is not counted.
            Only this project's Dassl tells the times.
    """
    return {
        "device": device_name(trainer.device),
        "peak_memory": peak_memory(trainer.device),
        "learned_parameters": learned_parameters(trainer),
        **(times(trainer.tally, started, time.monotonic()) if OURS else {}),
    }


def times(tally: Any, started: float, now: float) -> dict[str, Any]:
    """Return seconds of each phase, ms per training image and images per second of the last test (None: none).

    Training is what is neither start-up nor test: fitting, building a cache and saving are part of it. `waited` is the
    part of its time, from 0 to 1, that training and the last test waited for a processor that other programs had
    (`dassl.busy`; None: unknown, or none).
    """
    trained, tested = tally.training, tally.last_test
    return {
        "phase_seconds": {
            "start_up": round(tally.ready - started, 3),
            "training": round(now - tally.ready - tally.testing_seconds, 3),
            "evaluation": round(tally.testing_seconds, 3),
        },
        "ms_per_training_image": 1000 * trained.seconds / trained.images if trained.images else None,
        "test_images_per_second": tested.images / tested.seconds if tested.images else None,
        "waited": {name: waiting.part() for name, waiting in tally.waiting.items()},
    }


def keep_scores(trainer: Any) -> None:
    """Let a trainer's evaluator, of whatever Dassl, keep what it is given since its last reset, `[B, C]` by batch.

    In its attribute `scores` are log-probabilities, which a method gives itself under `TASK` JOINT; of a trainer that
    is not one of the methods they are the scores themselves.
    """
    own = None if trainer.cfg.TASK == JOINT else getattr(trainer.model, "log_probabilities", None)
    evaluator, kept = trainer.evaluator, own or (lambda scores: scores)
    process, reset = evaluator.process, evaluator.reset

    def process_and_keep(mo: Any, gt: Any) -> None:
        evaluator.scores.append(kept(mo).float().cpu().numpy())
        process(mo, gt)

    def reset_both() -> None:
        evaluator.scores = []
        reset()

    evaluator.process, evaluator.reset = process_and_keep, reset_both


def save_predictions(trainer: Any, directory: Path) -> dict[str, str]:
    """Write `true` and `predicted` labels `[N]` of the last test, in its order, and `classes` `[C]` by label.

    With TEST.SAVE_SCORES also `scores` `[N, C]` (float32), whose softmax are the probabilities, and the images' `paths`
    `[N]`, relative to the folder of the data set. Returns the file's name, for the record.
    """
    import numpy as np

    content = io.BytesIO()
    scores: dict[str, Any] = {}
    if trainer.cfg.TEST.SAVE_SCORES:
        kept = trainer.evaluator.scores
        lists = lists_of(trainer.dm.dataset)
        tested = lists.val if trainer.cfg.TEST.SPLIT == "val" and lists.val else lists.test
        scores = {
            "scores": np.concatenate(kept),
            "paths": np.asarray([entry.path for entry in tested]),
        }
    np.savez_compressed(
        content,
        true=np.asarray(trainer.evaluator._y_true, dtype=np.int32),
        predicted=np.asarray(trainer.evaluator._y_pred, dtype=np.int32),
        classes=np.asarray([name for _, name in sorted(trainer.lab2cname.items())]),
        **scores,
    )
    write_bytes(directory / PREDICTIONS, content.getvalue())
    return {"predictions": PREDICTIONS}


def learned_parameters(trainer: Any) -> int:
    """Return the number of learned values, each shared one counted once."""
    unique = {
        id(parameter): parameter.numel()
        for name in trainer.get_model_names()
        for parameter in trainer._models[name].parameters()
        if parameter.requires_grad
    }
    return sum(unique.values())


def test_results(trainer: Any) -> dict[str, Any]:
    """Return the last test's results, from the true and predicted labels that the evaluator kept.

    Returns:
        accuracy and macro_f1 in percent, unrounded (macro_f1 over the classes that occur, as Dassl has it);
        total and correct; per class its name, total and correct; the settings that the trainer chose on validation
        images, if it did; its notes by kind, if it made any.

    Raises:
        ValueError: nothing was tested.
    """
    true, predicted = trainer.evaluator._y_true, trainer.evaluator._y_pred
    if not true:
        raise ValueError("the test set is empty: nothing was tested")
    totals = Counter(true)
    hits = Counter(label for label, guess in zip(true, predicted, strict=True) if label == guess)
    correct = hits.total()
    return {
        "accuracy": 100.0 * correct / len(true),
        "macro_f1": macro_f1(true, predicted),
        "total": len(true),
        "correct": correct,
        "per_class": [
            {"class": name, "total": totals[label], "correct": hits[label]}
            for label, name in sorted(trainer.lab2cname.items())
        ],
        **({"chosen": chosen} if (chosen := getattr(trainer, "chosen", {})) else {}),
        **({"notes": dict(notes)} if (notes := getattr(trainer, "notes", {})) else {}),
    }
