"""What `fit` leaves behind, made up from random scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from reporting import calibration
from trainers.shared.temperature import fit_temperature, probabilities

FOREIGN = '<script>"R&D"</script>'  # a class with a name that would be a tag if it were not escaped
PATH = '{}"<script>.png'


def example(out: Path, classes: list[str], each: int = 6, shift: float = 3.0, **changes: Any) -> Path:
    """Write fit.json, predictions.csv and images for `each` images of every class; `changes` go into fit.json."""
    (out / "photos").mkdir(parents=True)
    draw = np.random.default_rng(0)
    true = np.repeat(np.arange(len(classes)), each)
    scores = 2 * draw.normal(size=(len(true), len(classes))) + shift * np.eye(len(classes))[true]
    temperature = fit_temperature(scores, true)
    before, after = probabilities(scores), probabilities(scores, temperature)
    predicted = after.argmax(axis=1)
    with open(out / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "true", "predicted", "confidence", "fold"])
        for i, (t, p) in enumerate(zip(true, predicted, strict=True)):
            rows.writerow([PATH.format(i), classes[t], classes[p], after[i].max(), 0])
            colour = tuple(int(255 * part) for part in draw.random(3))
            Image.new("RGB", (150, 90 + int(t)), colour).save(out / "photos" / PATH.format(i))
    accuracy = 100 * float(np.mean(true == predicted))
    measured = {"macro_f1": accuracy, "ece": 5.0, "nll": 0.7, "seconds": 80.0, "folds": [accuracy]}
    results = [
        {
            "method": method,
            "label": label,
            "chosen": chosen,
            "accuracy": a,
            "low": a - 4,
            "high": min(100, a + 4),
            **measured,
        }
        for method, label, chosen, a in [
            ("ZeroshotCLIP", "Zero-shot CLIP", False, accuracy - 20),
            ("LinearProbe", "Linear probe", False, accuracy + 1),
            ("MMRL", "MMRL", True, accuracy),
        ]
    ]
    hits = np.diag(confusion_matrix(true, predicted))
    content = {
        "version": 1,
        "title": "photos",
        "folder": str(out / "photos"),
        "classes": classes,
        "class_images": [each] * len(classes),
        "images": len(true),
        "method": "MMRL",
        "backbone": "ViT-B/16",
        "device": "cpu",
        "shots": "all",
        "why": "MMRL is the best method for a few images per class where there is a GPU.",
        "measurement": {
            "folds": 5,
            "repeats": 1,
            "text": "5 folds",
        },
        "results": results,
        "paid": "Training paid.",
        "per_class": [
            {"class": c, "images": each, "accuracy": 100 * int(h) / each, "zero_shot_accuracy": 50.0}
            for c, h in zip(classes, hits, strict=True)
        ],
        "confusion": confusion_matrix(true, predicted).tolist(),
        "calibration": {
            "temperature": temperature,
            "ece_before": calibration.expected_calibration_error(before, true),
            "ece_after": calibration.expected_calibration_error(after, true),
            "bins_before": calibration.bins(before, true),
            "bins_after": calibration.bins(after, true),
        },
        "learning_curve": [
            {"shots": shots, "accuracy": a, "low": a - 3, "high": a + 2}
            for shots, a in ((1, 60.0), (2, 70.0), (4, 75.0))
        ],
        "prompts": {
            "template": "a photo of a {}.",
            "texts": [f"a photo of a {name}." for name in classes],
            "text": "Each class's text begins what was learned.",
        },
        "final": {"folder": "model", "images": len(true), "text": "The final model learned from all images."},
        "next": [
            f"python mmrl.py predict photos --model-dir {out}/model --reject 0.8",
            f"python mmrl.py inspect {out}/model",
        ],
        "seconds": 400.0,
        **changes,
    }
    (out / "fit.json").write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
    return out


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> Callable[..., Path]:
    """``fitted(classes, **changes)``: a new folder that looks as `fit` leaves it."""
    return lambda classes, **changes: example(tmp_path_factory.mktemp("fit") / "out", classes, **changes)
