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
from commands import script
from runs import scripts
from runs.config import build_cfg

ROOT = Path(train.__file__).parent
NAMES = [*trainers.METHODS, *trainers.ALIASES]
NEW_CLASSES_REFUSED = "LinearProbe"


def arguments(script: str, *words: str, **environment: str) -> list[str]:
    """The words that a script gives to train.py."""
    return scripts.run_of(ROOT / "scripts" / script, words, environment).arguments("images", "output")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dataset", ["digits", "caltech101", "imagenet"])
def test_every_script_resolves(name, dataset):
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

    base, new = (arguments(f"b2n/base2new_{half}.sh", dataset, "7", name) for half in ("train", "test"))
    cfg = resolved(base)
    assert (cfg.TASK, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES) == ("B2N", 16, "base")
    assert config_file(new) == config_file(base) and "--eval-only" in new and new[-1] == "new"
    source = arguments("xd/xd_train.sh", "7", name, SOURCE=dataset)
    target = arguments("xd/xd_test.sh", "eurosat", "7", name, SOURCE=dataset)
    cfg = resolved(source)
    assert (cfg.TASK, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES) == ("CD", 16, "all")
    assert config_file(target) == config_file(source) and "--eval-only" in target
    for shots in (1, 2, 4, 8, 16):
        cfg = resolved(arguments("fewshot/fewshot.sh", dataset, "7", str(shots), name))
        assert (cfg.TASK, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES) == ("FS", shots, "all")


def test_all_methods_are_compared_once(monkeypatch, capsys):
    """Second names of methods are links in configs/trainers."""
    called = []
    monkeypatch.setattr(script, "call", lambda *words: called.append(words) or 0)
    assert script.main([str(ROOT / "scripts/compare.sh"), "digits", "all", "1"]) == 0
    found = re.findall(r"^== (\w+), seed 1: base2new_train$", capsys.readouterr().out, re.MULTILINE)
    assert sorted(found) == sorted(trainers.METHODS)
    assert len(called) == 2 * len(found) + 1 and called[-1][:2] == ("compare", "digits")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "words", "runs"),
    [("base2new", [], 2), ("fewshot", ["--shots", "1"], 1), ("xd", ["--source", "digits"], 2)],
)
def test_every_method_runs_on_digits(protocol, words, runs, data_root, tmp_path):
    """From training to the tests, but for one epoch; the commands of the grid are those of the scripts."""
    command = [sys.executable, "mmrl.py", "grid", protocol, "--datasets", "digits", "--methods", "all"]
    command += [
        "--seeds",
        "1",
        *words,
        "--root",
        str(data_root),
        "--output",
        str(tmp_path),
        "--",
        "OPTIM.MAX_EPOCH",
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    shown = subprocess.run([*command[:4], "--list", *command[4:]], cwd=ROOT, capture_output=True, text=True).stdout
    states = re.findall(r"^(\w+) +\S+/digits/shots_\d+/(\w+)/\S+(.*)$", shown, re.MULTILINE)
    assert len(states) == runs * len(trainers.METHODS)
    failed = {method: line for state, method, line in states if state != "done"}
    refused = {NEW_CLASSES_REFUSED} if protocol == "base2new" else set()
    assert set(failed) == refused, done.stdout + done.stderr
    assert all("LinearProbe cannot score new classes: " in line for line in failed.values())
