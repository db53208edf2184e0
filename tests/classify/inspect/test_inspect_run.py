"""`mmrl.py inspect` as a user calls it: on trained runs, on test runs, and on what is none."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from commands import inspect
from runs import record
from runs.environment import PROJECT
from tests.classify.inspect.conftest import BASE
from tests.few_digits import TESTED

COUNT = TESTED["base"]
PLOTS = {
    f"{name}.{kind}"
    for name in ("confusion_matrix", "gain", "alpha", "reliability", "features_pca", "features_tsne")
    for kind in ("png", "svg")
}
TABLES = {
    "per_class.csv",
    "confusions.csv",
    "alpha.csv",
    "cosines.csv",
    "reliability.csv",
    "features.csv",
    "inspect.json",
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def copy(base_run, tmp_path) -> Path:
    return shutil.copytree(base_run, tmp_path / "copy")


def test_a_finished_run(copy, tmp_path_factory, python):
    """A process of its own, elsewhere: the tables, the plots, the summary."""
    command = [python, str(PROJECT / "mmrl.py"), "inspect", str(copy), "--points", "50"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = record.read(copy)
    out = copy / "inspect/test"
    assert {path.name for path in out.iterdir()} == PLOTS | TABLES
    assert done.stdout.startswith(f"MMRL on Digits (test): {COUNT} images, 5 classes\n")
    assert f"accuracy {content['accuracy']:.2f}%, zero-shot CLIP " in done.stdout and str(out) in done.stdout
    for title in (
        "Classes, %",
        "Confidence (ECE in percent)",
        "Most confused pairs",
        "Alpha at test time",
        "Cosine with frozen CLIP's",
    ):
        assert title in done.stdout
    assert not list(elsewhere.iterdir())
    found = json.loads((out / "inspect.json").read_text())
    assert found["summary"]["accuracy"] == content["accuracy"] and found["run"]["shots"] == 4
    assert [row["class"] for row in rows(out / "per_class.csv")] == BASE
    wrong = sum(int(row["images"]) for row in rows(out / "confusions.csv"))
    assert wrong == content["total"] - content["correct"]
    assert sum(int(row["images"]) for row in rows(out / "reliability.csv")) == COUNT
    assert 0 < found["confidence"]["ece"] < 100
    assert len(rows(out / "features.csv")) == COUNT and len(rows(out / "alpha.csv")) == 21


def test_a_test_run_leads_to_its_model(new_run, call, no_figures):
    status, out, err = call(inspect, new_run, "--points", "20")
    assert status == 0, err
    content = record.read(new_run)
    assert f"accuracy {content['accuracy']:.2f}%" in out and "the run's scores: 1)" in out


def test_other_images_and_another_folder(base_run, call, tmp_path, no_figures):
    words = ("--split", "train", "--out", tmp_path / "here")
    status, out, err = call(inspect, base_run, *words)
    assert status == 0, err
    assert out.startswith("MMRL on Digits (train): 20 images, 5 classes\n")
    assert len(rows(tmp_path / "here/features.csv")) == 20
    before = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert call(inspect, base_run, *words)[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()} == before
    assert not (base_run / "inspect/train").exists()


def test_a_run_that_learned_nothing(zero_shot_run, tmp_path, call, no_figures):
    status, out, err = call(inspect, zero_shot_run, "--points", "20", "--out", tmp_path / "out")
    assert status == 0, err
    assert "note: every prediction is that of zero-shot CLIP: there is no gain to show\n" in out
    assert "note: ZeroshotCLIP has no representation feature, so no alpha to change\n" in out
    assert "note: ZeroshotCLIP takes images as frozen CLIP sees them: there is no cosine to show\n" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not names & {"alpha.csv", "alpha.png", "gain.png"} and "confusion_matrix.png" in names
    status, out, err = call(inspect, zero_shot_run, "--load-epoch", "1")
    assert (status, out) == (1, "") and err.endswith("has no epoch 1: ZeroshotCLIP learns nothing\n")


def refused(call, *words) -> str:
    status, out, err = call(inspect, *words)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (status, out, len(errors)) == (1, "", 1) and "Traceback" not in err
    return errors[0]


def test_a_model_that_is_gone(call, new_run, tmp_path):
    folder = shutil.copytree(new_run, tmp_path / "copy")
    record.write(folder, {**record.read(folder), "model_dir": "gone/run"})
    assert "tested the model of gone/run, which is not there" in refused(call, folder)


def test_data_that_are_not_there(call, base_run, tmp_path):
    assert str(tmp_path / "nowhere") in refused(call, base_run, "--root", tmp_path / "nowhere")


def test_a_place_that_is_a_file(call, base_run, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert refused(call, base_run, "--out", tmp_path / "file").endswith("it is a file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("words", [["--split", "all"], ["--points", "1"], ["--points", "many"], []])
def test_wrong_arguments(words, capsys):
    with pytest.raises(SystemExit) as end:
        inspect.main(["run", *words] if words else [])
    assert end.value.code == 2 and "error: " in capsys.readouterr().err


def test_other_data_than_the_runs(call, base_run, tmp_path):
    folder = shutil.copytree(base_run, tmp_path / "copy")
    content = record.read(folder)
    content["data"] |= {"digest": "0", "test": {**content["data"]["test"], "digest": "0"}}
    record.write(folder, content)
    assert refused(call, folder) == (
        f"error: {folder} holds a run on other data: another test list (then {COUNT} images, now {COUNT}); put the "
        "data back as they were, or name their folder with --root"
    )


def test_scores_that_are_not_finite(base_run, call, tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.mmrl.MMRLModel.fuse", lambda *args: args[1] * float("nan"))
    status, out, err = call(inspect, base_run, "--out", tmp_path / "out")
    assert (status, out) == (1, "") and not (tmp_path / "out").exists()
    assert f"error: MMRL gives {COUNT} of {COUNT} images of the test set scores that are NaN or infinite, first " in err
