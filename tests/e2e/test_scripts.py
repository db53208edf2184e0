"""The scripts on Digits, as a user runs them: from training to the table, and what can go wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from commands import script
from tests.few_digits import TESTED
from trainers.shared import checkpoints

ROOT = Path(train.__file__).parent
SHORT = ["--", "OPTIM.MAX_EPOCH", "2"]
TRAIN, TEST = "b2n/base2new_train.sh", "b2n/base2new_test.sh"
TWICE, LEAVE = "is given twice", "leave one of them out"
NAMED = "DATASET.NAME cannot be given after --: DATASET says which data set"


class Place:
    """A user's folders of data and runs, and a shell in them."""

    def __init__(self, folder: Path, python: str, digits: Path) -> None:
        self.data, self.output = folder / "data", folder / "output"
        self.data.mkdir()
        (self.data / "digits").symlink_to(digits)
        self.environment = {
            **os.environ,
            "DATA": str(self.data),
            "OUTPUT": str(self.output),
            "PYTHON": python,
            "OMP_NUM_THREADS": "1",
        }

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(ROOT / "scripts" / script), *words],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *words: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(script, *words, **environment)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def python(self, *words: str) -> tuple[int, str, str]:
        done = subprocess.run([self.environment["PYTHON"], *words], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def folder(self, half: str, seed: int = 1) -> Path:
        return self.output / f"base2new/{half}/digits/shots_16/MMRL/embedded/seed{seed}"

    def record(self, folder: Path) -> dict:
        return json.loads((folder / "record.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory, python, data_root) -> Place:
    return Place(tmp_path_factory.mktemp("user"), python, data_root / "digits")


@pytest.fixture(scope="module")
def trained(place) -> Place:
    """The first half of base to new has run."""
    status, out, err = place.run(TRAIN, "digits", "1", *SHORT)
    assert status == 0, err
    assert "* accuracy: " in out
    return place


def learned(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*/model-*.safetensors")
    return checkpoints.read(path)[0]


def test_base_to_new_from_training_to_the_table(trained):
    """Train, test, table, parser; and a second call that says that there is nothing to do."""
    base = trained.record(trained.folder("train_base"))
    assert (base["status"], base["subsample"], base["protocol"], base["shots"]) == ("success", "base", "B2N", 16)
    assert [row["class"] for row in base["per_class"]] == ["zero", "one", "two", "three", "four"]
    assert base["total"] == sum(row["total"] for row in base["per_class"]) == TESTED["base"]
    assert base["accuracy"] == 100 * base["correct"] / base["total"]

    log = (trained.folder("train_base") / "log.txt").read_text()
    status, out, err = trained.run(TRAIN, "digits", "1", *SHORT)
    assert (status, err) == (0, "") and out.startswith("Finished before, nothing to do: ") and out.count("\n") == 1
    assert (trained.folder("train_base") / "log.txt").read_text() == log

    status, _, err = trained.run(TEST, "digits", "1")
    assert status == 0, err
    new = trained.record(trained.folder("test_new"))
    assert (new["mode"], new["subsample"], new["total"]) == ("eval", "new", TESTED["new"])

    status, out, _ = trained.python("mmrl.py", "table", "digits", "MMRL", "--output", str(trained.output))
    assert status == 0 and f"|  {base['accuracy']:.2f} | {new['accuracy']:.2f} |" in out
    status, out, _ = trained.python("parse_test_res.py", str(trained.folder("train_base").parent))
    assert status == 0 and f"* accuracy: {base['accuracy']:.1f}0% +- 0.00%" in out
    status, out, _ = trained.python("parse_test_res.py", str(trained.folder("test_new").parent), "--test-log")
    assert status == 0 and f"* accuracy: {new['accuracy']:.1f}0% +- 0.00%" in out


def test_another_configuration_in_a_used_folder_is_refused(trained):
    before = trained.record(trained.folder("train_base"))
    status, _, err = trained.run(TRAIN, "digits", "1", "--", "OPTIM.MAX_EPOCH", "3")
    assert status == 1 and err.startswith("error: ") and "OPTIM.MAX_EPOCH: 2 -> 3" in err and err.count("\n") == 1
    assert trained.record(trained.folder("train_base")) == before


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(trained, tmp_path):
    """SIGKILL after the first of two epochs; the resumed run learns bit for bit what an uninterrupted one does."""
    killed = Place(tmp_path, sys.executable, trained.data / "digits")
    options = [*SHORT, "TRAIN.PRINT_FREQ", "1"]
    folder = killed.folder("train_base")
    process = killed.start(TRAIN, "digits", "1", *options)
    deadline = time.monotonic() + 120
    while not (folder / "resume.pth.tar").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert killed.record(folder)["status"] == "running"

    status, _, err = killed.run(TEST, "digits", "1")
    assert status == 1 and "is not finished (its record says running)" in err

    status, out, err = killed.run(TRAIN, "digits", "1", *options)
    assert status == 0, err
    assert "An earlier attempt is unfinished (running)" in out and "epoch [1/2]" not in out
    whole, resumed = (learned(place.folder("train_base")) for place in (trained, killed))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)
    first, second = (place.record(place.folder("train_base")) for place in (trained, killed))
    assert first["accuracy"] == second["accuracy"] and second["attempts"] == 2


def test_few_shot_and_cross_dataset(trained):
    """The other scripts, with the quick method."""
    count = sum(TESTED.values())
    for path, words, where, total in [
        (
            "fewshot/fewshot.sh",
            ["digits", "1", "2", "ZeroshotCLIP"],
            "few_shot/digits/shots_2/ZeroshotCLIP",
            sum(TESTED.values()),
        ),
        ("xd/xd_train.sh", ["1", "ZeroshotCLIP"], "xd/train/digits/shots_16/ZeroshotCLIP", count),
        (
            "xd/xd_test.sh",
            ["digits", "1", "ZeroshotCLIP"],
            "xd/test/digits/shots_16/ZeroshotCLIP",
            sum(TESTED.values()),
        ),
    ]:
        status, _, err = trained.run(path, *words, SOURCE="digits")
        assert status == 0, err
        record = trained.record(trained.output / where / "embedded/seed1")
        assert (record["status"], record["total"], record["learned_parameters"]) == ("success", total, 0)
    assert record["protocol"] == "CD"


@pytest.mark.parametrize(
    ("path", "words", "line"),
    [
        (TRAIN, ["digit", "1"], "unknown dataset digit; did you mean digits"),
        (TRAIN, ["digits", "1", "MMLR"], "unknown method MMLR; did you mean MMRL"),
        (TRAIN, ["digits", "1", "MMRL", "vit_b61"], "MMRL has no configuration vit_b61; did you mean vit_b16"),
        (TRAIN, ["digits", "one"], "SEED must be a whole number, not one"),
        (TRAIN, ["digits"], "SEED is missing; usage: "),
        (TRAIN, ["digits", "1", "MMRL", "embedded", "x"], "unexpected argument x; usage: "),
        ("fewshot/fewshot.sh", ["digits", "1", "0"], "SHOTS must be a positive number, not 0"),
        ("xd/xd_test.sh", ["digitz", "1"], "unknown dataset digitz; did you mean digits"),
        (TRAIN, ["digits", "5", "--", "SEED", "7"], f"SEED {TWICE}, by --seed 5 and by SEED 7: {LEAVE}\n"),
        (TRAIN, ["digits", "5", "--", "TASK=FS"], f"TASK {TWICE}, by TASK B2N and by TASK FS: {LEAVE}\n"),
        (TRAIN, ["digits", "5", "--", "DATASET.NAME", "EuroSAT"], f"{NAMED}\n"),
        (TRAIN, ["digits", "5", "--", "DATASET.NAME=EuroSAT"], f"{NAMED}\n"),
    ],
)
def test_a_script_says_what_is_wrong_with_its_words(path, words, line, place, monkeypatch, capsys):
    for name in ("DATA", "OUTPUT"):
        monkeypatch.setenv(name, place.environment[name])
    assert script.main([str(ROOT / "scripts" / path), *words]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {line}") and err.count("\n") == 1
    assert not place.folder("train_base", seed=5).exists()
