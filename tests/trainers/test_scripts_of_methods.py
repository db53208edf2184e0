"""Every method by the scripts with its default configuration: on the embedded data set, and resolved for real ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import train
import trainers
from runs.config import build_cfg

ROOT = Path(train.__file__).parent
NAMES = [*trainers.METHODS, *trainers.ALIASES]
NEW_CLASSES_REFUSED = "LinearProbe"


@pytest.fixture
def recorder(tmp_path):
    """``recorder(script, *words)``: the words that a script gives to train.py."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    path.chmod(0o755)

    def call(script, *words, **more):
        environment = {**os.environ, "PYTHON": str(path), "DATA": "images", "OUTPUT": "output", **more}
        command = ["bash", str(ROOT / "scripts" / script), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        program, *arguments = done.stdout.splitlines()
        assert program == str(ROOT / "train.py")
        return arguments

    return call


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dataset", ["digits", "caltech101", "imagenet"])
def test_every_script_resolves(name, dataset, recorder):
    """The commands are runs of the method on the data set; the second half of a protocol has the first's settings."""

    def resolved(words):
        cfg = build_cfg(train.parse_args(words))
        found = trainers.load(cfg.TRAINER.NAME)
        found.check_cfg(object.__new__(found), cfg)
        assert cfg.TRAINER.NAME == trainers.ALIASES.get(name, name) and cfg.SEED == 7
        assert (cfg.MODEL.BACKBONE.NAME == "embedded") == (cfg.DATASET.NAME == "Digits") == (dataset == "digits")
        return cfg

    def config_file(words):
        return words[words.index("--config-file") + 1]

    base, new = (recorder(f"b2n/base2new_{half}.sh", dataset, "7", name) for half in ("train", "test"))
    cfg = resolved(base)
    assert (cfg.TASK, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES) == ("B2N", 16, "base")
    assert config_file(new) == config_file(base) and "--eval-only" in new and new[-1] == "new"
    source = recorder("xd/xd_train.sh", "7", name, SOURCE=dataset)
    target = recorder("xd/xd_test.sh", "eurosat", "7", name, SOURCE=dataset)
    cfg = resolved(source)
    assert (cfg.TASK, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES) == ("CD", 16, "all")
    assert config_file(target) == config_file(source) and "--eval-only" in target
    for shots in (1, 2, 4, 8, 16):
        cfg = resolved(recorder("fewshot/fewshot.sh", dataset, "7", str(shots), name))
        assert (cfg.TASK, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES) == ("FS", shots, "all")


def test_all_methods_are_compared_once(tmp_path):
    """Second names of methods are links in configs/trainers."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(path), "OUTPUT": "output"}
    command = ["bash", str(ROOT / "scripts/compare.sh"), "digits", "all", "1"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = re.findall(r"^== (\w+), seed 1: base2new_train$", done.stdout, re.MULTILINE)
    assert sorted(found) == sorted(trainers.METHODS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "words", "runs"),
    [("base2new", [], 2), ("fewshot", ["--shots", "1"], 1), ("xd", ["--source", "digits"], 2)],
)
def test_every_method_runs_on_digits(protocol, words, runs, data_root, tmp_path):
    """From training to the tests, but for one epoch; the commands of grid.py are those of the scripts."""
    command = [sys.executable, "grid.py", protocol, "--datasets", "digits", "--methods", "all", "--seeds", "1", *words]
    command += ["--root", str(data_root), "--output", str(tmp_path), "--", "OPTIM.MAX_EPOCH", "1"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    shown = subprocess.run([*command[:3], "--list", *command[3:]], cwd=ROOT, capture_output=True, text=True).stdout
    states = re.findall(r"^(\w+) +\S+/digits/shots_\d+/(\w+)/\S+(.*)$", shown, re.MULTILINE)
    assert len(states) == runs * len(trainers.METHODS)
    failed = {method: line for state, method, line in states if state != "done"}
    refused = {NEW_CLASSES_REFUSED} if protocol == "base2new" else set()
    assert set(failed) == refused, done.stdout + done.stderr
    assert all("LinearProbe cannot score new classes: " in line for line in failed.values())
