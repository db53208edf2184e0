"""The grid as a user runs it, on Digits: runs that are killed and go on, through the pool and through local jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from tests.agreement import relative
from trainers.shared import checkpoints

ROOT = Path(train.__file__).parent
FOLDER = "base2new/{half}/digits/shots_16/{method}/embedded/seed{seed}"
SHORT = ["--", "OPTIM.MAX_EPOCH", "3", "TRAIN.PRINT_FREQ", "1"]


class Place:
    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        (folder / "data").mkdir()
        self.folders = ["--root", str(folder / "data"), "--output", str(self.output)]

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "mmrl.py"), "grid", "base2new", "--datasets", "digits"]
        command += [*self.folders, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def folder(self, half: str, seed: int, method: str = "MMRL") -> Path:
        return self.output / FOLDER.format(half=half, seed=seed, method=method)

    def record(self, half: str, seed: int) -> dict:
        return json.loads((self.folder(half, seed) / "record.json").read_text())

    def learned(self, seed: int) -> dict[str, torch.Tensor]:
        (path,) = self.folder("train_base", seed).glob("*/model-*.safetensors")
        return checkpoints.read(path)[0]

    def wait_for_epoch(self, seed: int, grid: subprocess.Popen[str]) -> int:
        """The process of the run of `seed`, once it has saved its first epoch."""
        folder = self.folder("train_base", seed)
        deadline = time.monotonic() + 100
        while not (folder / "resume.pth.tar").exists():
            assert grid.poll() is None and time.monotonic() < deadline, grid.communicate()
            time.sleep(0.002)
        found = re.match(r"process (\d+) on ", (folder / "run.lock").read_text())
        assert found
        return int(found[1])


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.mark.slow
def test_a_killed_run_is_named_stops_nothing_and_goes_on(place, tmp_path_factory):
    words = ["--seeds", "1", "2", *SHORT]
    grid = place.start("--launcher", "local", "--concurrency", "2", *words)
    os.kill(place.wait_for_epoch(1, grid), signal.SIGKILL)
    out, err = grid.communicate(timeout=120)
    first = FOLDER.format(half="train_base", seed=1, method="MMRL")
    assert grid.returncode == 1, err
    assert f"error: failed: {first}: killed by SIGKILL\n" in err
    assert "4 runs: 1 failed, 1 skipped, 2 done, in " in out
    status, out, err = place.run("--list", *words)
    assert out.splitlines()[0] == f"stopped  {first}  (running)" and out.endswith("2 done, 1 stopped, 1 missing\n")

    status, out, err = place.run(*words)
    assert (status, err) == (0, ""), err
    assert out.startswith("2 of 4 runs were done before\n") and "4 runs: 2 done before, 2 done, in " in out
    other = Place(tmp_path_factory.mktemp("uninterrupted"))
    assert other.run("--seeds", "1", *SHORT)[0] == 0
    resumed, whole = place.learned(1), other.learned(1)
    assert resumed.keys() == whole.keys() and all(torch.equal(resumed[key], whole[key]) for key in whole)
    assert [place.record("train_base", seed)["attempts"] for seed in (1, 2)] == [2, 1]
    assert place.record("test_new", 1)["accuracy"] == other.record("test_new", 1)["accuracy"]


@pytest.mark.slow
def test_runs_save_themselves_when_the_grid_is_stopped_or_killed(place):
    """SIGTERM to the grid, then SIGKILL to it: its run is `preempted` both times, and no process is left behind."""
    words = ["--seeds", "1", "--", "OPTIM.MAX_EPOCH", "200", "TRAIN.PRINT_FREQ", "1"]
    grid = place.start(*words)
    place.wait_for_epoch(1, grid)
    grid.send_signal(signal.SIGTERM)
    out, err = grid.communicate(timeout=60)
    assert grid.returncode == 75 and "2 runs: 1 stopped, 1 skipped, in " in out, err
    assert place.record("train_base", 1)["status"] == "preempted"

    grid = place.start(*words)
    log = place.folder("train_base", 1) / "log.txt"
    lines = log.read_text().count("\n")
    while log.read_text().count("\nepoch [") < 20 or log.read_text().count("\n") < lines + 40:
        assert grid.poll() is None
        time.sleep(0.02)
    grid.kill()
    grid.communicate()
    deadline = time.monotonic() + 30
    while place.record("train_base", 1)["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (place.record("train_base", 1)["status"], place.record("train_base", 1)["attempts"]) == ("preempted", 2)


@pytest.mark.slow
def test_seeds_of_one_process_that_is_killed_go_on_or_begin_anew(place, tmp_path):
    words = ["--seeds", "1", "2", "--together", *SHORT]
    grid = place.start(*words)
    os.kill(place.wait_for_epoch(1, grid), signal.SIGKILL)
    _, err = grid.communicate(timeout=120)
    assert grid.returncode == 1 and err.count("killed by SIGKILL\n") == 2
    assert place.run("--list", *words)[1].endswith("2 stopped, 2 missing\n")
    status, out, err = place.run(*words)
    assert status == 0 and "4 runs: 4 done, in " in out, err
    (tmp_path / "alone").mkdir()
    alone = Place(tmp_path / "alone")
    assert alone.run("--seeds", "1", "2", *SHORT)[0] == 0
    for seed in (1, 2):
        assert place.record("train_base", seed)["attempts"] == 2
        assert place.record("test_new", seed)["correct"] == alone.record("test_new", seed)["correct"]
        want, found = alone.learned(seed), place.learned(seed)
        assert all(relative(found[name], want[name]) < 1e-4 for name in want)
