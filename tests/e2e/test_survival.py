"""A run is killed, asked to stop, and given a full disk or damaged files, and ends bit-equal to one left alone."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from runs import record
from tests import calls, warm
from tests.e2e import faults
from trainers.shared import checkpoints

METHOD = "MultiModalRepresentationLearner"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and processes of POSIX")


class Place:
    """A folder of runs of one short configuration, and the run that nothing happened to."""

    def __init__(self, folder: Path, digits: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        for name in ("zero", "one", "two", "three"):
            (self.data / "mine" / name).mkdir(parents=True)
            for image in sorted((digits / name).iterdir())[:16]:
                shutil.copy(image, self.data / "mine" / name)
        warm.load()
        status, _, err = faults.run(self.words(folder / "whole"), folder / "whole.says", faults.slow_disk)
        assert status == 0, err
        self.seconds = 0.5 + json.loads((folder / "whole/record.json").read_text())["wall_seconds"]

    def words(self, run: Path, *options: str) -> list[str]:
        short = "DATASET.FOLDER mine DATASET.NUM_SHOTS 4 DATASET.SUBSAMPLE_CLASSES base OPTIM.MAX_EPOCH 3".split()
        short += "TEST.FINAL_MODEL best_val TRAIN.RESUME_FREQ 1".split()
        return calls.words(self.data, run, *short, *options, dataset="imagefolder")

    def result(self, run: str | Path) -> tuple:
        """Everything that must be equal to the last bit."""
        files = sorted((self.folder / run / METHOD).glob("model-*.safetensors"))
        tensors = [(path.name, checkpoints.digest(checkpoints.read(path)[0], {})) for path in files]
        content = json.loads((self.folder / run / "record.json").read_text())
        return tensors, content["status"], content["accuracy"], content["macro_f1"], content["per_class"]

    def kill_until_done(self, name: str, kills: int, dice: random.Random) -> tuple[int, int]:
        """Kill a run at random moments, at most `kills` times, then let it end: (kills, those within a write)."""
        run, done, halves = self.folder / name, 0, 0
        for done in range(kills + 1):
            process = faults.start(self.words(run), run.with_suffix(".says"), faults.slow_disk)
            if done < kills:
                process.join(timeout=dice.uniform(0, self.seconds))
                process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL, run.with_suffix(".says.err").read_text()
            assert "damaged" not in run.with_suffix(".says.out").read_text()  # nothing half-written was read
            halves += any(run.rglob(".*.incomplete"))
        assert self.result(name) == self.result("whole")
        assert not list(run.glob("resume*")) and not list(run.rglob("*.damaged*"))
        return done, halves


@pytest.fixture(scope="module")
def place(tmp_path_factory, data_root) -> Place:
    return Place(tmp_path_factory.mktemp("survival"), data_root / "digits/images")


def test_killed_three_times(place):
    done, halves = place.kill_until_done("three", 3, random.Random(4))
    print(f"{done} kills, {halves} of them within a write")
    assert done == 3


@pytest.mark.slow
def test_killed_fifty_times(place):
    kills = halves = runs = 0
    dice = random.Random(0)
    while kills < 50:
        done, within = place.kill_until_done(f"fifty{runs}", 50 - kills, dice)
        kills, halves, runs = kills + done, halves + within, runs + 1
    print(f"{kills} kills over {runs} runs, {halves} of them within a write: every run ended bit-equal")
    assert halves >= 5


def test_sigterm_saves_and_says_so(place):
    run = place.folder / "preempted"
    process = faults.start(place.words(run), run.with_suffix(".says"), faults.slow_disk)
    while not (run / "resume.pth.tar").exists():
        assert process.is_alive(), run.with_suffix(".says.err").read_text()
        time.sleep(0.01)
    while process.is_alive():  # some send it again and again
        process.terminate()
        process.join(timeout=0.005)
    assert process.exitcode == 75
    line = "Stopped by SIGTERM (exit status 75): the same command goes on here\n"
    assert run.with_suffix(".says.err").read_text() == line
    assert json.loads((run / "record.json").read_text())["status"] == "preempted"
    status, out, err = faults.run(place.words(run), run.with_suffix(".says"))
    assert (status, err) == (0, "")
    assert "An earlier attempt is unfinished (preempted): going on" in out and "will resume training in epoch 1" in out
    assert place.result("preempted") == place.result("whole")


@pytest.mark.parametrize(
    ("part", "room", "line"),
    [
        ("resume.pth.tar", 3_000_000, "cannot write {run}/resume.pth.tar: No space left on device"),
        ("model-3", 0, "cannot write {run}/{method}/model-3.safetensors: No space left on device"),
        ("record.json", 2000, "cannot write {run}/record.json: No space left on device"),
    ],
)
def test_a_disk_that_fills_up(place, part, room, line):
    """One line that names the file, a non-zero exit, the last good state intact; with room, the run goes on."""
    run = place.folder / f"full{room}"
    status, _, err = faults.run(place.words(run), run.with_suffix(".says"), faults.full_disk(part, room))
    wanted = f"error: [Errno 28] {line.format(run=run, method=METHOD)}; make room, and the same command goes on"
    assert status == 1 and err.splitlines()[-1] == wanted, err
    assert "Traceback" not in err and not list(run.rglob("*.incomplete"))
    content = record.read(run)  # None: it could not even be begun
    assert content is None or content["status"] in ("running", "failed")
    status, _, err = faults.run(place.words(run), run.with_suffix(".says"))
    assert status == 0, err
    assert place.result(run) == place.result("whole")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written(place):
    run = place.folder / "full-log"
    run.mkdir()
    (run / "log.txt").symlink_to("/dev/full")
    status, _, err = faults.run(place.words(run), run.with_suffix(".says"))
    wanted = f"error: [Errno 28] cannot write {run}/log.txt: No space left on device; make room, and the same command"
    assert status == 1 and err.splitlines()[-1] == f"{wanted} goes on" and "Traceback" not in err
    (run / "log.txt").unlink()
    assert faults.run(place.words(run), run.with_suffix(".says"))[0] == 0
    assert place.result(run) == place.result("whole")


def test_a_real_disk_that_is_full(place):
    """A tmpfs of 8 MB, which has no room for the second generation of the rolling file; then one of 64 MB."""
    run = place.folder / "tmpfs"
    run.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(run)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        status, _, err = faults.run(place.words(run), run.with_suffix(".says"))
        assert status == 1 and "Traceback" not in err
        assert err.splitlines()[-1].startswith(f"error: [Errno 28] cannot write {run}/") and "make room" in err
        subprocess.run(["mount", "-o", "remount,size=64m", str(run)], check=True, capture_output=True)
        status, _, err = faults.run(place.words(run), run.with_suffix(".says"))
        assert status == 0, err
        assert place.result(run) == place.result("whole")
    finally:
        subprocess.run(["umount", str(run)], check=True)


def test_two_processes_start_the_same_run(place):
    """One runs, the other says who does, and disturbs nothing."""
    run = place.folder / "twice"
    says = [place.folder / f"twice-{name}" for name in ("one", "two")]
    processes = [faults.start(place.words(run), path, faults.slow_disk) for path in says]
    for process in processes:
        process.join()
    winner, loser = sorted((0, 1), key=lambda i: processes[i].exitcode)
    assert [processes[winner].exitcode, processes[loser].exitcode] == [0, 1]
    out, err = (Path(f"{says[loser]}.{end}").read_text() for end in ("out", "err"))
    holder = f"process {processes[winner].pid} on {socket.gethostname()}"
    assert (out, err) == ("", f"error: {run} is being run by another process ({holder})\n")
    assert place.result("twice") == place.result("whole") and not (run / record.LOCK).exists()
    assert record.read(run)["attempts"] == 1


def test_deterministic_runs_are_equal(place):
    """Logs too, but for times; and it is a run of another configuration than one without."""
    logs = []
    for name in ("one", "two"):
        run = place.folder / f"deterministic-{name}"
        words = ["--deterministic", *place.words(run, "DATALOADER.NUM_WORKERS", "1")]
        status, out, err = faults.run(words, run.with_suffix(".says"))
        assert (status, err) == (0, "")
        out = re.sub(r"(time|data) \d+\.\d+ \(\d+\.\d+\)|(eta|Elapsed:) \S+|deterministic-\w+", "", out)
        logs.append(out)
    assert logs[0] == logs[1] and "epoch [3/3]" in logs[0]
    assert place.result("deterministic-one") == place.result("deterministic-two")
    status, _, err = faults.run(place.words(run, "DATALOADER.NUM_WORKERS", "1"), run.with_suffix(".says"))
    assert status == 1 and "run.deterministic: True -> (none)" in err


def test_training_that_was_done_is_not_done_again(place):
    """Killed after the last checkpoint and before the record: the next attempt tests and is done."""
    run = place.folder / "tested"
    shutil.copytree(place.folder / "whole", run)
    for name in ("record.json", "config.yaml"):
        (run / name).unlink()
    status, out, _ = faults.run(place.words(run), run.with_suffix(".says"))
    assert status == 0 and "epoch [" not in out and "* accuracy: " in out
    assert place.result(run) == place.result("whole")
