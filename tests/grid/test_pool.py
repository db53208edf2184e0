"""Carrying out runs on this machine, with a stand-in for train.main."""

from __future__ import annotations

import pickle
import threading
import time
from multiprocessing import get_context

import pytest

from dassl.cores import available
from runs.grid import cli
from runs.grid import pool as pools
from runs.grid.expand import Grid, expand
from runs.grid.pool import Folders, Pool, Program, gpus, last_line, slots_for


@pytest.fixture
def carry_out(tmp_path, fake_train, monkeypatch):
    """Carry out a grid; returns outcomes by name and the folder of all runs."""

    def run(grids, slots=(None,), keep_going=True, meanwhile=None, together=None):
        pool = Pool(Program(fake_train.main, together=together), Folders("data", str(tmp_path)), list(slots))
        outcomes = {}
        if meanwhile:
            threading.Thread(target=meanwhile, args=(pool,), daemon=True).start()

        def report(outcome):
            assert outcome.run.name not in outcomes
            outcomes[outcome.run.name] = outcome

        runs = expand(grids)
        pool.run(runs, report, keep_going)
        assert set(outcomes) == {run.name for run in runs}
        return [outcomes[run.name] for run in runs]

    return run


def moment(tmp_path, outcome, what):
    return float((tmp_path / outcome.run.name / what).read_text())


def test_a_test_comes_after_its_training_and_jobs_run_side_by_side(carry_out, tmp_path):
    outcomes = carry_out([Grid("base2new", ["digits"], seeds=[1, 2])], slots=["0", "1"])
    assert [outcome.status for outcome in outcomes] == [0, 0, 0, 0]
    for trained, tested in (outcomes[:2], outcomes[2:]):
        assert moment(tmp_path, trained, "ended") < moment(tmp_path, tested, "began")
        words = (tmp_path / tested.run.name / "argv.txt").read_text().splitlines()
        assert words == tested.run.arguments("data", str(tmp_path))
    used = {(tmp_path / outcome.run.name / "gpu.txt").read_text() for outcome in outcomes}
    assert used == {"0", "1"}
    shares = {(tmp_path / outcome.run.name / "cores.txt").read_text() for outcome in outcomes}
    assert shares == {str(max(1, available() // 2))}


def test_a_failure_stops_nothing_but_its_own_tests(carry_out, fake_train, tmp_path):
    seeds = [fake_train.FAIL, fake_train.DIE, 1]
    outcomes = carry_out([Grid("base2new", ["digits"], seeds=seeds)], slots=[None, None])
    assert [(outcome.status, outcome.line) for outcome in outcomes] == [
        (1, "error: a line about it"),
        (None, "its training run is not done"),
        (-9, "killed by SIGKILL"),
        (None, "its training run is not done"),
        (0, ""),
        (0, ""),
    ]


def test_seeds_share_a_process_and_each_has_its_own_outcome(carry_out, fake_train, tmp_path):
    seeds = [1, fake_train.FAIL, fake_train.DIE, 2]
    outcomes = carry_out([Grid("base2new", ["digits"], seeds=seeds)], together=fake_train.together)
    assert [(outcome.status, outcome.line) for outcome in outcomes] == [
        (0, ""),
        (0, ""),
        (1, "error: a line about it"),
        (None, "its training run is not done"),
        (-9, "killed by SIGKILL"),
        (None, "its training run is not done"),
        (-9, "killed by SIGKILL"),  # it had not begun
        (None, "its training run is not done"),
    ]
    together = [(tmp_path / outcome.run.name / "argv.txt") for outcome in outcomes[:2]]
    assert [path.read_text().splitlines()[-1] for path in together] == ["4", "new"]


def test_without_keep_going_nothing_more_is_started(carry_out, fake_train):
    outcomes = carry_out([Grid("fewshot", ["digits"], seeds=[1, fake_train.FAIL, 2])], keep_going=False)
    assert [(outcome.status, outcome.line) for outcome in outcomes][1:] == [
        (1, "error: a line about it"),
        (None, "not started"),
    ]


def test_stop_lets_runs_save_themselves_and_they_go_on(carry_out, fake_train, tmp_path):
    grids = [Grid("fewshot", ["digits"], seeds=[fake_train.HANG, 1])]
    hangs = tmp_path / expand(grids)[0].name / "hangs"

    def stop(pool):
        while not hangs.exists():
            time.sleep(0.01)
        pool.stop()

    first, second = carry_out(grids, meanwhile=stop)
    assert first.status == 75 and (second.status, second.line) == (None, "not started")
    assert [outcome.status for outcome in carry_out(grids)] == [0, 0]


def test_where_forking_is_not_safe_every_run_starts_afresh(carry_out, fake_train, monkeypatch):
    monkeypatch.setattr(pools.sys, "platform", "darwin")
    used = []
    monkeypatch.setattr(pools.multiprocessing, "get_context", lambda name: used.append(name) or get_context(name))
    outcomes = carry_out([Grid("base2new", ["digits"], seeds=[1, fake_train.FAIL])], slots=["0", "1"])
    assert [outcome.status for outcome in outcomes] == [0, 0, 1, None] and used == ["spawn"]


def test_gpus_are_those_that_may_be_used(monkeypatch):
    monkeypatch.setattr(pools.shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus() == [] and slots_for(None) == [None] and slots_for(2) == [None, None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5a")
    assert gpus() == ["2", "GPU-5a"] and slots_for(None) == ["2", "GPU-5a"] and slots_for(3) == ["2", "GPU-5a", "2"]
    assert slots_for(None, per_gpu=2) == ["2", "GPU-5a", "2", "GPU-5a"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert gpus() == []
        with pytest.raises(ValueError, match="--per-gpu: there is no GPU here"):
            slots_for(None, per_gpu=2)


def test_the_last_word_of_a_run(tmp_path):
    console = tmp_path / "console"
    assert last_line(console, 1) == "exit status 1, and no word"
    console.write_bytes(b"epoch 1\nValueError: \xff what\n\n")
    assert last_line(console, 1) == "ValueError: � what"
    console.write_text("error: first\nerror: second\nbye\n")
    assert last_line(console, 1) == "error: second" and last_line(console, -15) == "killed by SIGTERM"


@pytest.mark.parametrize("program", [cli.PROGRAM, cli.TOGETHER])
def test_what_does_a_run_can_be_handed_to_a_new_process(program):
    """The stand-in above is a function of a module; so must these be."""
    assert pickle.loads(pickle.dumps(program)).imports == program.imports
