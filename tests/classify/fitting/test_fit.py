"""`fit` as a user calls it, on a few digits with the embedded CLIP."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median_low

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import f1_score

import mmrl
from classify import fit, load_classifier
from classify.fitting import carry_out, images, splits
from classify.fitting.plan import Planner, Request, Speed, choose
from runs import execute, record
from runs.environment import PROJECT

CHOSEN, EACH, FOLDS = ("three", "eight", "nine"), 8, 2
ASKED = {"method": "LinearProbe", "backbone": "embedded", "folds": FOLDS}


def words(folder: Path, *more: str) -> list[str]:
    options = [word for key, value in ASKED.items() for word in (f"--{key}", str(value))]
    return ["fit", str(folder / "digits"), "--out", str(folder / "out"), *options, *more]


def features(folder: Path) -> list[str]:
    return ["FEATURES.FOLDER", str(folder / "features")]


def write_images(folder: Path, data_root: Path) -> None:
    for name in CHOSEN:
        (folder / name).mkdir(parents=True)
        for path in sorted((data_root / "digits/images" / name).iterdir())[:EACH]:
            shutil.copy(path, folder / name)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory, data_root):
    """A fit that was stopped in its third run and gone on with: its folder, both statuses and outputs."""
    folder = tmp_path_factory.mktemp("fit")
    write_images(folder / "digits", data_root)
    begun = []

    def stops_third(args):
        begun.append(args)
        return 75 if len(begun) == 3 else run(args)

    run = execute.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "run", stops_third)
        stopped = mmrl.main([*words(folder), "--", *features(folder)])
    classifier = fit(folder / "digits", out=folder / "out", **ASKED, options=features(folder))
    return folder, stopped, classifier


@pytest.fixture
def result(fitted):
    return json.loads((fitted[0] / "out/fit.json").read_text())


@pytest.fixture
def predictions(fitted):
    with open(fitted[0] / "out/predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_stopped_fit_goes_on_and_a_finished_one_says_so_at_once(fitted, capsys, monkeypatch):
    folder, stopped, _ = fitted
    assert stopped == 75
    attempts = [record.read(run.parent)["attempts"] for run in (folder / "out").rglob("record.json")]
    assert attempts == [1] * (3 * FOLDS + 1)
    monkeypatch.setattr(carry_out, "Progress", None)  # nothing is carried out
    assert mmrl.main([*words(folder), "--", *features(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Finished before") and "zero-shot CLIP (95% interval" in printed
    assert f"python mmrl.py predict --model-dir {folder}/out/model {folder}/digits/" in printed


def test_every_image_is_predicted_once_by_a_model_that_has_not_seen_it(fitted, predictions):
    folder = fitted[0]
    paths = [row["path"] for row in predictions]
    assert sorted(paths) == sorted(f"{path.parent.name}/{path.name}" for path in (folder / "digits").rglob("*.png"))
    assert all(row["true"] == row["path"].split("/")[0] for row in predictions)
    for fold in range(1, FOLDS + 1):
        tested = {row["path"] for row in predictions if row["fold"] == str(fold)}
        data = record.read(folder / f"out/measure/LinearProbe/fold_{fold}")["data"]
        assert data["test"]["images"] == len(tested) and data["val"]["images"] == len(CHOSEN)
        with open(folder / f"out/splits/fold_{fold}_val.csv", newline="") as file:
            parts = {row["path"]: row["split"] for row in csv.DictReader(file)}
        assert {path for path, part in parts.items() if part == "test"} == tested and len(parts) == len(paths)


def test_numbers_are_those_of_the_predictions(result, predictions):
    true, predicted = ([row[key] for row in predictions] for key in ("true", "predicted"))
    hits = sum(a == b for a, b in zip(true, predicted, strict=True))
    rows = {row["method"]: row for row in result["results"]}
    assert list(rows) == ["LinearProbe", "ZeroshotCLIP", "TipAdapter"]
    best = rows["LinearProbe"]
    assert best["chosen"] and best["accuracy"] == pytest.approx(100 * hits / len(true))
    wilson = binomtest(hits, len(true)).proportion_ci(method="wilson")
    assert (best["low"], best["high"]) == pytest.approx((100 * wilson.low, 100 * wilson.high))
    assert best["macro_f1"] == pytest.approx(100 * f1_score(true, predicted, average="macro"))
    assert np.mean(best["folds"]) == pytest.approx(best["accuracy"])
    assert np.trace(result["confusion"]) == hits and np.sum(result["confusion"]) == len(true)
    assert [row["accuracy"] for row in result["per_class"]] == pytest.approx(
        [100 * row[i] / sum(row) for i, row in enumerate(result["confusion"])]
    )
    assert (result["classes"], result["class_images"]) == (sorted(CHOSEN), [EACH] * 3)


def test_calibration_is_fitted_out_of_fold_and_lies_beside_the_model(fitted, result, predictions):
    folder = fitted[0]
    facts = json.loads((folder / "out/calibration.json").read_text())
    assert (folder / "out/model/calibration.json").read_text() == (folder / "out/calibration.json").read_text()
    assert facts["temperature"] == result["calibration"]["temperature"] and facts["images"] == len(predictions)
    confidence, accuracy, coverage = facts["curve"][-1]
    assert coverage == 1 and accuracy == pytest.approx(result["results"][0]["accuracy"] / 100)
    assert confidence == pytest.approx(min(float(row["confidence"]) for row in predictions), abs=1e-6)
    assert (folder / "out/index.html").read_text().startswith("<!DOCTYPE html>")


def test_the_final_model_has_all_images_and_the_settings_of_the_folds(fitted, result):
    out = fitted[0] / "out"
    folds = [record.read(out / f"measure/LinearProbe/fold_{fold}")["chosen"] for fold in range(1, FOLDS + 1)]
    model = record.read(out / "model")
    key = "TRAINER.LINEARPROBE.C"
    assert model["config"][key] == median_low(fold[key] for fold in folds)
    assert model["data"]["train"]["images"] == 3 * EACH and "val" not in model["data"] and "accuracy" not in model
    assert result["final"]["text"].startswith(f"The final model (LinearProbe) was trained on all {3 * EACH} images.")
    assert "trained on 50% of the images" in result["final"]["text"]


def test_the_classifier_evaluates_and_has_features_and_takes_arrays(fitted):
    folder, _, classifier = fitted
    assert repr(classifier) == "<Classifier LinearProbe over embedded: 3 classes (eight, nine, three), cpu>"
    paths = sorted((folder / "digits").rglob("*.png"))
    found = classifier.evaluate(folder / "digits")
    truth = [path.parent.name for path in paths]
    said = [classifier.classes[i] for i in classifier.predict(paths).argmax(dim=1)]
    assert found["accuracy"] == pytest.approx(100 * np.mean([a == b for a, b in zip(said, truth, strict=True)]))
    assert [row["images"] for row in found["per_class"]] == [EACH] * 3
    vectors = classifier.features(paths[:5])
    assert vectors.shape == (5, 128) and np.allclose(vectors.norm(dim=1), 1)
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths[:2]])
    assert classifier.predict(pixels).equal(classifier.predict(paths[:2]))
    with pytest.raises(ValueError, match=r"^an array must be RGB pixels, uint8 \[H, W, 3\], not float64"):
        classifier.predict(pixels[0] / 255)
    classifier = load_classifier(folder / "out/model")
    classifier.classes = ["eight", "nine", "nil"]
    with pytest.raises(ValueError, match="has the class 'three'; known: eight, nil, nine"):
        classifier.evaluate(folder / "digits")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--folds", "3"], "{out} holds another fit: folds: 2 -> 3; choose another --out"),
        (["--shots", "0"], "--shots must be at least 1, not 0"),
        (["--method", "MMLR"], "there is no method MMLR; did you mean MMRL"),
        (["--", "DATASET.NUM_SHOTS", "4"], "DATASET.NUM_SHOTS cannot be given after --"),
        (["--out", "{digits}/nine"], "--out {digits}/nine lies among the images"),
    ],
)
def test_what_cannot_be_is_one_line(fitted, more, line, capsys):
    folder = fitted[0]
    names = {"out": folder / "out", "digits": folder / "digits"}
    more = [word.format(**names) for word in more]
    options = [] if "--" in more else ["--", *features(folder)]
    assert mmrl.main([*words(folder), *more, *options]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {line.format(**names)}") and printed.err.count("\n") == 1


def test_changed_images_are_refused(fitted, capsys):
    folder = fitted[0]
    new = shutil.copy(min((folder / "digits/nine").iterdir()), folder / "digits/nine/new.png")
    try:
        assert mmrl.main([*words(folder), "--", *features(folder)]) == 1
    finally:
        os.unlink(new)
    assert "holds a fit to other images: 1 image added (nine/new.png) since;" in capsys.readouterr().err


def test_a_class_with_one_image_and_a_missing_folder_are_refused(tmp_path, data_root, capsys):
    write_images(tmp_path / "digits", data_root)
    for path in sorted((tmp_path / "digits/nine").iterdir())[1:]:
        path.unlink()
    assert mmrl.main(words(tmp_path)) == mmrl.main(["fit", str(tmp_path / "nothing")]) == 1
    one, missing = capsys.readouterr().err.splitlines()
    assert one.startswith("error: class 'nine' has one image only") and missing.startswith("error: there is no folder")


def test_the_users_own_test_part_is_the_only_fold(tmp_path, data_root):
    for part in ("train", "val", "test"):
        write_images(tmp_path / part, data_root)
    found = images.read(tmp_path)
    assert splits.folds_of(found, 5) == 1 and found.counts == [3 * EACH] * 3
    first, again = splits.folds(found, 1, 2)
    assert (again.repeat, again.test) == (2, first.test) and first.test == found.given["test"]
    train, val = splits.training_part(first.train, first.val, None, True, 1)
    assert (sorted(train), val) == (sorted(found.given["train"]), found.given["val"])
    assert len(splits.training_part(first.train, first.val, None, False, 1)[0]) == 2 * 3 * EACH


def test_validation_images_are_a_part_of_training_and_shots_are_drawn_from_the_rest(tmp_path, data_root):
    write_images(tmp_path / "digits", data_root)
    items = images.read(tmp_path / "digits").all
    train, val = splits.training_part(items, [], 4, True, 1)
    assert [[item.label for item in some] for some in (train, val)] == [[0] * 4 + [1] * 4 + [2] * 4, [0, 1, 2]]
    assert {*train, *val} < {*items} and not {*train} & {*val}
    assert splits.training_part(items, [], 4, True, 2)[0] != train
    alone, none = splits.training_part(items[:1], [], None, True, 1)
    assert (alone, none) == (items[:1], [])


def test_the_method_goes_by_the_device_and_the_images(tmp_path, data_root):
    write_images(tmp_path / "digits", data_root)
    found = images.read(tmp_path / "digits")
    request = Request(str(tmp_path / "digits"), str(tmp_path / "out"), backbone="embedded")
    folds = list(splits.folds(found, 2, 1))
    planner = Planner(request, found, 2, Speed(1.0, 1.0, 0.0))
    assert choose(planner, folds, "cuda")[0] == "MMRL"
    method, why = choose(planner, folds, "cpu")
    assert method == "TipAdapter" and "MMRL would take about 15 minutes" in why
    many = [fold._replace(train=fold.train * 4) for fold in folds]
    assert choose(planner, many, "cpu")[0] == "LinearProbe"
    # 16 images of each class are what the configuration is for; with 48 a third of the epochs are as many steps
    mmrl_words = planner.words("MMRL", "fold_1", "run", 1)[0]
    assert planner.settings("MMRL", mmrl_words, 48) == []
    assert planner.settings("MMRL", mmrl_words, 96) == ["OPTIM.MAX_EPOCH", "5"]
    assert planner.settings("LinearProbe", planner.words("LinearProbe", "fold_1", "run", 1)[0], 144) == [
        *("FEATURES.ONCE", "True")
    ]


@pytest.mark.slow
def test_a_killed_fit_ends_as_one_that_was_not(fitted, tmp_path, result):
    """SIGKILL during the second run; the numbers are those of the fit beside it."""
    folder = fitted[0]
    command = [sys.executable, str(PROJECT / "mmrl.py"), *words(folder, "--out", str(tmp_path / "out"))]
    command += ["--", *features(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    second = tmp_path / "out/measure/LinearProbe/fold_2/log.txt"
    while not second.is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "[1/7] LinearProbe, fold 1 of 2: " in done.stdout
    assert "(done before)" in done.stdout.splitlines()[5]
    again = json.loads((tmp_path / "out/fit.json").read_text())
    assert [row["accuracy"] for row in again["results"]] == [row["accuracy"] for row in result["results"]]
    assert again["calibration"] == result["calibration"]
