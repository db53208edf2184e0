"""The records that train.py leaves: of runs that end well, fail, are stopped, and are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import parse_test_res
import train
from dassl.engine.trainer import choose_device
from runs import config, plan, record
from tests import calls
from trainers.mmrl import MMRL

ABOUT = (
    "method dataset dataset_config protocol subsample shots seed split mode model_dir source source_config backbone "
    "settings versions commit device run_id attempts started finished config_hash config_file config status"
).split()
COST = (
    "wall_seconds cpu_seconds waited peak_memory learned_parameters phase_seconds ms_per_training_image "
    "test_images_per_second"
).split()
RESULT = "data accuracy macro_f1 total correct per_class predictions".split()
QUICK = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES"]


@pytest.fixture(scope="module")
def data(digits_root) -> Path:
    return digits_root


def call(data: Path, folder: Path, *more: str) -> tuple[int, dict]:
    """Exit status of train.py, and the record that it leaves."""
    status = calls.call(calls.words(data, folder, *more))
    content = record.read(folder)
    assert content is not None
    return status, content


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("runs") / "base"
    status, content = call(data, folder, *QUICK, "base")
    assert status == 0
    return folder, content


def test_a_finished_run_has_every_field(finished):
    folder, content = finished
    assert set(content) == {*ABOUT, *COST, *RESULT}
    facts = {key: content[key] for key in ("method", "dataset", "protocol", "subsample", "shots", "seed", "split")}
    assert list(facts.values()) == ["MMRL", "Digits", "B2N", "base", 2, 1, "test"]
    assert (content["status"], content["mode"], content["model_dir"]) == ("success", "train", None)
    assert (content["source"], content["backbone"], content["settings"]) == ("Digits", "embedded", "embedded")
    assert (content["dataset_config"], content["source_config"]) == ("digits", "digits")
    assert content["accuracy"] == 100 * content["correct"] / content["total"] and content["total"] == 271
    assert sum(row["correct"] for row in content["per_class"]) == content["correct"]
    assert content["versions"]["torch"] == torch.__version__.split("+")[0] or "+" in content["versions"]["torch"]
    assert content["device"] == "cpu" or content["device"].startswith("cuda")
    assert content["peak_memory"]["bytes"] > 50_000_000


def test_threads_are_chosen_before_anything_is_built(data, tmp_path, monkeypatch):
    told = []

    def choose(backbone, device):
        told.append((backbone, device.type))
        raise ValueError("that will do")

    monkeypatch.setattr("runs.engine.choose_threads", choose)
    status, content = call(data, tmp_path / "run", *QUICK, "base")
    assert (status, content["error"], told) == (1, "that will do", [("embedded", choose_device(True).type)])


def test_its_times_add_up(finished):
    _, content = finished
    phases = content["phase_seconds"]
    assert list(phases) == ["start_up", "training", "evaluation"] and min(phases.values()) > 0
    assert sum(phases.values()) == pytest.approx(content["wall_seconds"], abs=0.5)
    assert content["test_images_per_second"] == pytest.approx(271 / phases["evaluation"], rel=0.05)
    assert 0 < content["cpu_seconds"] < 1.1 * os.cpu_count() * content["wall_seconds"]
    assert set(content["waited"]) == {"training", "last_test"}
    assert sys.platform != "linux" or all(0 <= part <= 1 for part in content["waited"].values())
    # 10 images were trained on: 2 shots of 5 classes, 2 batches of 4 at least, of what "training" took
    assert 0 < content["ms_per_training_image"] * 8 / 1000 < phases["training"]


def test_what_was_learned_is_what_the_checkpoint_holds(finished):
    from trainers.shared import checkpoints

    folder, content = finished
    (path,) = folder.glob("*/model-1.safetensors")
    assert content["learned_parameters"] == sum(tensor.numel() for tensor in checkpoints.read(path)[0].values())


def test_its_configuration_is_resolved_and_its_hash_is_of_that(finished, data, tmp_path):
    folder, content = finished
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert written["OPTIM"]["MAX_EPOCH"] == content["config"]["OPTIM.MAX_EPOCH"] == 1
    assert content["config_hash"] == record.digest(content["config"])
    args = train.parse_args(calls.words(data, tmp_path / "elsewhere", *QUICK, "base"))
    again = plan.identify(config.build_cfg(args), args)
    assert record.digest(json.loads(json.dumps(again))) == content["config_hash"]  # wherever it lies
    args = train.parse_args(calls.words(data, folder, *QUICK, "base", "OPTIM.LR", "0.5"))
    assert record.digest(json.loads(json.dumps(plan.identify(config.build_cfg(args), args)))) != content["config_hash"]


def test_its_predictions(finished, data, tmp_path):
    folder, content = finished
    with np.load(folder / content["predictions"]) as kept:
        assert (kept["true"] == kept["predicted"]).sum() == content["correct"] and len(kept["true"]) == 271
        assert kept["classes"].tolist() == [row["class"] for row in content["per_class"]]
    status, other = call(data, tmp_path / "run", *QUICK, "base", "TEST.SAVE_PREDICTIONS", "False")
    assert (status, other["config_hash"]) == (0, content["config_hash"])
    assert "predictions" not in other and not (tmp_path / "run/predictions.npz").exists()


def test_a_joint_test_has_its_measures_by_rule(finished, data, tmp_path, capsys):
    words = "--eval-only", "--model-dir", str(finished[0]), *QUICK, "all", "TASK", "JOINT", "TEST.SAVE_SCORES", "True"
    status, content = call(data, tmp_path / "joint", *words)
    assert status == 0 and list(content["joint"]) == ["class feature", "both features"]
    first = content["joint"]["class feature"]
    assert first["accuracy"] == pytest.approx(content["accuracy"]) and len(first) == 11
    with np.load(tmp_path / "joint/predictions.npz") as kept:
        assert kept["scores"].argmax(axis=1).tolist() == kept["predicted"].tolist()
        assert np.allclose(np.exp(kept["scores"]).sum(axis=1), 1, atol=1e-5)
    log = (tmp_path / "joint/log.txt").read_text()
    assert log.index("=> joint result (both features)") < log.index("=> joint result (class feature)")
    assert parse_test_res.main([str(tmp_path), "--test-log", "--keyword", "openworld_auc"]) == 0
    assert f"* openworld_auc: {first['openworld_auc']:.1f}0% +-" in capsys.readouterr().out


def test_a_test_of_a_model_says_whose_it_is(finished, data, tmp_path):
    folder, trained = finished
    status, content = call(data, tmp_path / "new", "--eval-only", "--model-dir", str(folder), *QUICK, "new")
    assert status == 0 and set(content) == {*ABOUT, *COST, *RESULT}
    assert (content["mode"], content["model_dir"], content["source"]) == ("eval", str(folder), "Digits")
    assert (content["dataset_config"], content["source_config"]) == ("digits", "digits")
    assert content["config"]["run.model"] == trained["run_id"]
    assert content["ms_per_training_image"] is None and content["phase_seconds"]["training"] < 0.2
    assert [row["class"] for row in content["per_class"]] == ["five", "six", "seven", "eight", "nine"]


def test_a_run_that_fails_while_it_trains(data, tmp_path, capsys):
    status, content = call(data, tmp_path / "run", *QUICK, "base", "OPTIM.LR", "1e30", "OPTIM.WARMUP_EPOCH", "0")
    assert (status, content["status"]) == (1, "failed") and content["error"].startswith("the loss is nan at epoch 1, ")
    assert set(content) == {*ABOUT, *COST, "data", "error"} and content["finished"]
    assert content["learned_parameters"] > 0 and content["test_images_per_second"] is None


def test_a_run_that_fails_before_there_is_a_model(data, tmp_path, capsys):
    status, content = call(data, tmp_path / "run", *QUICK, "base", "MODEL.BACKBONE.NAME", "nowhere.safetensors")
    assert (status, content["status"]) == (1, "failed") and "nowhere.safetensors" in content["error"]
    assert set(content) == {*ABOUT, "wall_seconds", "cpu_seconds", "error"}


@pytest.fixture
def at_the_second_step(monkeypatch):
    """Call something in the second training step."""
    step, count = MMRL.forward_backward, []

    def install(act):
        def stepped(trainer, batch):
            count.append(1)
            if len(count) == 2:
                act()
            return step(trainer, batch)

        monkeypatch.setattr(MMRL, "forward_backward", stepped)

    return install


def test_a_run_that_is_stopped(data, tmp_path, at_the_second_step, capsys):
    at_the_second_step(lambda: os.kill(os.getpid(), signal.SIGTERM))
    status, content = call(data, tmp_path / "run", *QUICK, "base")
    assert (status, content["status"]) == (75, "preempted")
    assert set(content) == {*ABOUT, *COST, "data"} and content["ms_per_training_image"] > 0
    status, content = call(data, tmp_path / "run", *QUICK, "base")
    assert (status, content["status"], content["attempts"]) == (0, "success", 2)


def test_a_run_that_is_killed_leaves_what_was_known(data, tmp_path, at_the_second_step):
    """While it runs, the record is what a kill would leave."""
    left = []
    at_the_second_step(lambda: left.append(record.read(tmp_path / "run")))
    assert call(data, tmp_path / "run", *QUICK, "base")[0] == 0
    (content,) = left
    assert set(content) == {*ABOUT, "data"}
    assert (content["status"], content["finished"], content["attempts"]) == ("running", None, 1)
    assert content["config_hash"] and content["versions"] and content["device"]
