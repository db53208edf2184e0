"""Somebody's own trainer, put into trainers/ as it is: ``foreign/mine.py`` is written as CoOp's are."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import train
import trainers
from commands import export, inspect, predict
from common.commandline import INTERRUPTED
from runs import config
from tests.few_digits import TESTED
from trainers.shared import foreign

ROOT = Path(train.__file__).parent
FILE = Path(__file__).parent / "foreign/mine.py"
SETTINGS = [
    "DATASET.NUM_SHOTS",
    "4",
    "OPTIM.NAME",
    "sgd",
    "OPTIM.LR",
    "0.01",
    "OPTIM.MAX_EPOCH=3",
    "TRAINER.MINE.SCALE=0.5",
]
BASE = ["DATASET.SUBSAMPLE_CLASSES", "base"]


def test_nothing_of_the_project_is_foreign():
    assert foreign.find() == {}
    assert not trainers.is_foreign("MMRL") and not trainers.is_foreign("MMA") and not trainers.is_foreign("")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of trainers beside the project's, with the file in it."""
    folder = tmp_path_factory.mktemp("trainers")
    shutil.copy(FILE, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign, "FOLDER", folder)
        patch.setattr(trainers, "__path__", [*trainers.__path__, str(folder)])
        yield folder


def words(output, *more, method="Mine"):
    files = ["--dataset-config-file", f"{ROOT}/configs/datasets/digits.yaml"]
    files += ["--config-file", f"{ROOT}/configs/trainers/ZeroshotCLIP/embedded.yaml"]
    return ["--output-dir", str(output), "--seed", "1", "--trainer", method, *files, *map(str, more)]


@pytest.fixture
def call(monkeypatch, capsys):
    """``call(program, *words)``: exit status, stdout, stderr."""

    def run(program, *words):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["program", *map(str, words)])
            patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
            patch.setattr(sys, "stderr", sys.stderr)
            status = program.main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def trained(folder, data_root, tmp_path_factory):
    """Its run on Digits' base classes, by train.py."""
    output = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words(output, "--root", data_root, *SETTINGS, *BASE)])
        patch.setattr(sys, "stdout", sys.stdout)
        patch.setattr(sys, "stderr", sys.stderr)
        torch.set_num_threads(1)  # as in every test here: other threads, other sums
        assert train.main() == 0
    return output


def record(output):
    return json.loads((output / "record.json").read_text())


def test_it_trains_tests_and_is_on_record(trained, data_root, call):
    about = record(trained)
    assert (about["status"], about["method"], about["total"]) == ("success", "Mine", TESTED["base"])
    assert about["config"]["TRAINER.MINE.SCALE"] == 0.5
    assert (trained / "mine/model.pth.tar-3").is_file()
    again = words(trained, "--root", data_root, *SETTINGS, *BASE)
    assert call(train, *again)[1].startswith("Finished before, nothing to do: ")
    # Nobody knows which nodes it reads, so all of them count.
    status, _, err = call(train, *again, "TRAINER.COOP.N_CTX", 3)
    assert status == 1 and "holds a run of another configuration: TRAINER.COOP.N_CTX: 16 -> 3" in err


def test_its_random_stream_and_its_features_are_its_own(folder, call, tmp_path):
    line = "error: --official-stream: Mine draws what it draws, so leave it out\n"
    assert call(train, *words(tmp_path / "run", "OFFICIAL_STREAM", "True"))[::2] == (1, line)
    line = "error: FEATURES.ONCE: Mine is not one of this project's methods, so leave it out\n"
    assert call(train, *words(tmp_path / "run", "FEATURES.ONCE", "True"))[::2] == (1, line)


def test_its_model_is_tested_with_the_settings_it_was_trained_with(trained, data_root, call, tmp_path):
    evaluate = ["--root", data_root, "--eval-only", "--model-dir", trained, "DATASET.NUM_SHOTS", "4", *BASE]
    assert call(train, *words(tmp_path / "again", *evaluate))[0] == 0
    again = record(tmp_path / "again")
    assert again["accuracy"] == record(trained)["accuracy"] and again["config"]["TRAINER.MINE.SCALE"] == 0.5


def test_killed_it_goes_on(trained, data_root, call, tmp_path, monkeypatch):
    mine = trainers.load("Mine")
    step = mine.forward_backward

    def forward_backward(trainer, batch):
        if trainer.epoch == 1:
            raise KeyboardInterrupt
        return step(trainer, batch)

    command = words(tmp_path / "killed", "--root", data_root, *SETTINGS, *BASE)
    monkeypatch.setattr(mine, "forward_backward", forward_backward)
    assert call(train, *command)[0] == INTERRUPTED
    monkeypatch.setattr(mine, "forward_backward", step)
    status, out, _ = call(train, *command)
    assert status == 0 and "epoch [1/3]" not in out
    states = [torch.load(run / "mine/model.pth.tar-3", weights_only=True) for run in (trained, tmp_path / "killed")]
    assert torch.equal(*(state["state_dict"]["gain"] for state in states))


@pytest.mark.parametrize(
    ("program", "more"),
    [(predict, ["--model-dir", "{run}", "{run}"]), (export, ["--model-dir", "{run}", "--out", "{out}"])]
    + [(inspect, ["{run}"])],
)
def test_what_needs_a_method_says_so(program, more, trained, call, tmp_path):
    (trained / "one.png").touch()
    status, _, err = call(program, *(word.format(run=trained, out=tmp_path / "out") for word in more))
    assert (status, err) == (
        1,
        f"error: {trained} holds a run of Mine, a trainer of its own kind (without build_method): predict, export and "
        "inspect know this project's methods only; test it with train.py --eval-only\n",
    )
    assert not (tmp_path / "out").exists()


def test_names_that_are_not_known(folder, call, tmp_path):
    for name, hint in (("Mien", "did you mean Mine?"), ("MMLR", "did you mean MMRL or MMRLpp?")):
        assert call(train, *words(tmp_path / "run", method=name))[2] == f"error: unknown trainer {name}; {hint}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("TRAINER_REGISTRY = = 1", "{file} is not valid Python: invalid syntax (broken.py, line 1)"),
        (
            "import nowhere\n@TRAINER_REGISTRY.register()\nclass Broken: pass",
            "trainers/broken.py, which has Broken, cannot be imported: No module named 'nowhere'",
        ),
        (
            "from dassl.engine import TRAINER_REGISTRY\nfrom trainers.coop import CoOp\n"
            "@TRAINER_REGISTRY.register()\nclass Broken(CoOp): pass",
            "Broken is a CLIPTrainer without a row in trainers.METHODS: docs/adding-a-method.md, step 2",
        ),
    ],
)
def test_files_that_are_no_trainers(text, line, folder, data_root, call, tmp_path):
    path = folder / "broken.py"
    path.write_text(text)
    try:
        status, _, err = call(train, *words(tmp_path / "run", "--root", data_root, method="Broken"))
    finally:
        path.unlink()
    assert (status, err) == (1, f"error: {line.format(file=path)}\n")


def test_a_method_has_no_key_of_anothers_file(folder):
    assert "MINE" not in config.default_cfg("MMRL").TRAINER
    assert config.default_cfg("Mine").TRAINER.MINE.SCALE == 1.0
