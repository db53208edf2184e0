"""How far a run is, by what stands in its folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from runs import record
from runs.grid.state import look


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def make(folder, end, error="no such thing"):
    run = record.Run(folder, {"OPTIM.LR": 0.1}, {})
    run.start("OPTIM:\n  LR: 0.1\n", {})
    if end == "fail":
        run.fail(error, {})
    elif end:
        getattr(run, end)(*([{}] if end == "succeed" else []))


def state(folder, rate=0.1):
    return look(folder, ["the", "arguments"], lambda words: record.Run(folder, {"OPTIM.LR": rate}, {}))


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ("succeed", ("done", "")),
        ("fail", ("failed", "no such thing")),
        ("preempt", ("stopped", "preempted")),
        (None, ("stopped", "running")),
    ],
)
def test_what_the_record_says(folder, end, wanted):
    assert state(folder) == ("missing", "")
    make(folder, end)
    assert state(folder) == wanted


def test_a_run_that_a_living_process_has(folder):
    make(folder, None)
    lock = folder / record.LOCK
    lock.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    assert state(folder) == ("running", f"process {os.getpid()} on {socket.gethostname()}")
    lock.write_text("process 1 on another-machine")
    assert state(folder) == ("running", "process 1 on another-machine")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock.write_text(f"process {dead.pid} on {socket.gethostname()}")
    assert state(folder) == ("stopped", "running")
    lock.write_text("")
    assert state(folder) == ("stopped", "running")


def test_done_is_only_what_has_these_settings(folder):
    make(folder, "succeed")
    found, line = state(folder, rate=0.2)
    assert found == "differs" and "OPTIM.LR: 0.1 -> 0.2" in line


def test_a_damaged_record_is_named_and_a_file_is_no_folder(folder):
    make(folder, "succeed")
    (folder / record.RECORD).write_text("{}")
    found, line = state(folder)
    assert found == "stopped" and line.startswith(f"{folder / record.RECORD} is damaged")
    found, line = state(folder / record.RECORD / "seed1")
    assert found == "failed" and line.endswith("is a file, or lies in one")


def test_a_test_whose_model_is_gone_is_still_done(folder):
    def plan(words):
        raise FileNotFoundError("--model-dir: there is no folder x")

    make(folder, "succeed")
    assert look(folder, [], plan) == ("done", "its model is gone")


def test_done_is_only_what_was_run_on_these_data(folder):
    def changed(directory, content):
        raise record.DataDiffers(f"{directory} holds a run on other data: 1 image gone (a/1.png)")

    make(folder, "succeed")
    found, line = look(folder, [], lambda words: record.Run(folder, {"OPTIM.LR": 0.1}, {}, same_data=changed))
    assert (found, line) == ("differs", f"{folder} holds a run on other data: 1 image gone (a/1.png)")
