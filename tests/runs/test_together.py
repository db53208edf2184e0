"""Seeds of one process: each does what it does alone."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from runs import together
from tests.agreement import relative
from tests.calls import call, words
from trainers.shared import checkpoints, seeds

SHORT = [
    "DATASET.NUM_SHOTS",
    "4",
    "DATASET.SUBSAMPLE_CLASSES",
    "base",
    "OPTIM.MAX_EPOCH",
    "2",
    "OPTIM.WARMUP_EPOCH",
    "-1",
]
SEEDS = (1, 2)


@pytest.fixture
def arguments(digits_root, tmp_path):
    def of(folder, seed, *options, method="MMRL"):
        return words(digits_root, tmp_path / folder / str(seed), "--seed", str(seed), *SHORT, *options, method=method)

    return of


@pytest.fixture
def carry_out(arguments, tmp_path):
    """Carry out the seeds in one process; returns their exit statuses."""

    def run(*options, method="MMRL"):
        statuses = {}
        runs = [arguments("together", seed, *options, method=method) for seed in SEEDS]
        consoles = [tmp_path / f"console{seed}" for seed in SEEDS]
        together.main(runs, consoles, lambda number, status: statuses.update({SEEDS[number]: status}))
        return statuses

    return run


def learned(folder):
    (path,) = folder.glob("*/model-*.safetensors")
    return checkpoints.read(path)[0]


def lines(folder):
    """A run's log, but for times, paths and what no run alone says."""
    text = re.sub(r" (time|data|eta) \S+( \(\S+\))?|Elapsed.*", "", (folder / "log.txt").read_text())
    kept = [line for line in text.splitlines() if not re.match("Arguments|note: run in one process|An earlier", line)]
    return [re.sub(r"\S*/\S+|drawn and saved as|as in", "", line) for line in kept]


def test_each_seed_is_its_own_run_even_after_a_stop(arguments, carry_out, tmp_path, monkeypatch):
    for seed in SEEDS:
        assert call(arguments("alone", seed)) == 0
    passes, taken = seeds.passes, []

    def stops_at_third(steps):
        taken.append(len(steps))
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return passes(steps)

    monkeypatch.setattr(seeds, "passes", stops_at_third)
    before = signal.getsignal(signal.SIGTERM)
    assert carry_out() == {1: 75, 2: 75} and signal.getsignal(signal.SIGTERM) is before
    assert carry_out() == {1: 0, 2: 0} and taken == [2] * 10
    for seed in SEEDS:
        alone, side_by_side = (tmp_path / folder / str(seed) for folder in ("alone", "together"))
        want, found = learned(alone), learned(side_by_side)
        assert {
            name: relative(found[name], want[name]) for name in want if relative(found[name], want[name]) > 1e-4
        } == {}
        own, shared = (json.loads((folder / "record.json").read_text()) for folder in (alone, side_by_side))
        note = f"run in one process with seed {3 - seed}, step by step, and its times are those of all of them"
        assert own.keys() | {"notes"} == shared.keys() and shared["notes"] == {"together": note}
        for key in ("status", "seed", "config", "data", "accuracy", "per_class", "learned_parameters"):
            assert own[key] == shared[key], key
        assert f"note: {note}\n" in (side_by_side / "log.txt").read_text()
        assert lines(side_by_side)[-7:] == lines(alone)[-7:]
    assert relative(*(next(iter(learned(tmp_path / "together" / str(seed)).values())) for seed in SEEDS)) > 1e-4


def test_other_methods_take_turns_and_a_seed_that_fails_leaves_the_others_alone(carry_out, tmp_path):
    (tmp_path / "together").mkdir()
    (tmp_path / "together" / "2").write_text("no folder")
    assert carry_out(method="ZeroshotCLIP") == {1: 0, 2: 1}
    assert "error: " in (tmp_path / "console2").read_text() and "accuracy" in (tmp_path / "console1").read_text()
    note = "one after the other: ZeroshotCLIP takes no step for several seeds at once"
    assert f"note: run in one process with seed 2, {note}" in (tmp_path / "together" / "1" / "log.txt").read_text()
