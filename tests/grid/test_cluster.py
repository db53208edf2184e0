"""Jobs through submitit: its local executor, and Slurm as far as its commands go (stand-ins for sbatch, srun, ...)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from commands.grid import add_cluster_arguments
from runs.grid import cluster
from runs.grid.expand import Grid, expand
from runs.grid.pool import Folders, Program

HERE = Path(__file__).parent


@pytest.fixture
def launch(tmp_path, fake_train, monkeypatch):
    """Carry out a grid through a launcher; returns the status and (status, line) of each run."""
    monkeypatch.setattr(cluster, "POLL", 0.1)

    def run(grids, *words, keep_going=True):
        parser = argparse.ArgumentParser()
        add_cluster_arguments(parser)
        args = parser.parse_args(words)
        args.jobs, args.per_gpu, args.keep_going = None, None, keep_going
        found, runs = {}, expand(grids)
        place = Folders(str(tmp_path / "data"), str(tmp_path / "runs"))
        status = cluster.launch(args, runs, place, Program(fake_train.main), lambda one: found.update({one.run: one}))
        run.statuses.append(status)
        return status, [(found[run].status, found[run].line) for run in runs]

    run.statuses = []
    return run


def when(path, act):
    """Call `act` once `path` exists, beside the test."""

    def wait():
        while not path.exists():
            time.sleep(0.02)
        act()

    threading.Thread(target=wait, daemon=True).start()


def folder(tmp_path, grids, number=0):
    return tmp_path / "runs" / expand(grids)[number].name


def test_local_jobs_and_one_that_is_preempted(launch, fake_train, tmp_path, monkeypatch):
    """SIGUSR2 reaches the job, as a scheduler sends it: the run saves itself, the job starts again and ends well."""
    grids = [Grid("base2new", ["digits"], seeds=[fake_train.HANG, fake_train.FAIL])]
    submitted = []
    start = cluster._Local.submit

    def submit(board, jobs):
        submitted.extend(start(board, jobs))
        return submitted[-len(jobs) :]

    monkeypatch.setattr(cluster._Local, "submit", submit)
    when(folder(tmp_path, grids) / "hangs", lambda: preempt_local(submitted[0]))
    assert launch(grids, "--launcher", "local", "--concurrency", "2") == (
        0,
        [(0, ""), (0, ""), (1, "error: a line about it"), (None, "its training run is not done")],
    )
    assert (folder(tmp_path, grids) / "saved").exists() and len(submitted) == 2


def test_local_jobs_start_nothing_after_a_failure_if_asked(launch, fake_train):
    grids = [Grid("fewshot", ["digits"], seeds=[1, fake_train.FAIL, 2])]
    assert launch(grids, "--launcher", "local", keep_going=False) == (
        0,
        [(0, ""), (1, "error: a line about it"), (None, "not started")],
    )


@pytest.fixture
def sigint():
    """Set what SIGINT does in this process: it is ignored where a script has started it in the background."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "status", "handler"),
    [
        (signal.SIGTERM, 75, signal.default_int_handler),
        (signal.SIGTERM, 75, signal.SIG_IGN),
        (signal.SIGINT, 130, signal.default_int_handler),
    ],
)
def test_local_jobs_end_with_the_grid_and_their_runs_save_themselves(
    launch, fake_train, tmp_path, sigint, number, status, handler
):
    sigint(handler)
    grids = [Grid("fewshot", ["digits"], seeds=[fake_train.HANG])]
    before = signal.getsignal(signal.SIGTERM)
    when(folder(tmp_path, grids) / "hangs", lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyError):  # no outcome was reported
        launch(grids, "--launcher", "local")
    (found,) = launch.statuses
    deadline = time.monotonic() + 60
    while not (folder(tmp_path, grids) / "saved").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == status and (folder(tmp_path, grids) / "saved").exists()
    assert signal.getsignal(signal.SIGTERM) == before


def preempt_local(handle):
    (task,) = children(handle._process.pid)
    os.kill(task, signal.SIGUSR2)


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


SBATCH = """
import glob, os, re, subprocess, sys
bin, script = os.path.dirname(__file__), sys.argv[1]
number = 77 + len(glob.glob(f"{bin}/*.batch"))
open(f"{bin}/{number}.batch", "w").close()
array = re.search("--array=0-([0-9]+)%([0-9]+)", open(script).read())
for task in range(int(array[1]) + 1 if array else 1):
    name = f"{number}_{task}" if array else str(number)
    more = {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)} if array else {}
    open(f"{bin}/{name}.queued", "w").close()
    loop = f"while [ -e {bin}/{name}.queued ]; do mv {bin}/{name}.queued {bin}/{name}.runs; bash {script}; done"
    command = f"{loop}; rm {bin}/{name}.runs"
    names = {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0",
             "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "FAKE_NAME": name, **more}
    subprocess.Popen(["bash", "-c", command], env={**os.environ, **names}, start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"Submitted batch job {number}")
"""
SRUN = """
import os, sys
words = sys.argv[1:]
while words[0].startswith("--"):
    words = words[1 if words[0] == "--unbuffered" else 2:]
open(f"{os.path.dirname(__file__)}/{os.environ['FAKE_NAME']}.process", "w").write(str(os.getpid()))
os.execvp(words[0], words)
"""
SQUEUE = """
import glob, os
assert __import__("sys").argv[1:] == ["--noheader", "--array", "--format=%i"]
for path in glob.glob(f"{os.path.dirname(__file__)}/7*.*"):
    print(os.path.basename(path).split(".")[0]) if path.endswith(("queued", "runs")) else None
"""
SCONTROL = """
import os, sys
assert sys.argv[1] == "requeue"
open(f"{os.path.dirname(__file__)}/{sys.argv[2]}.queued", "w").close()
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands that act like Slurm's on this machine; their folder, where jobs leave `NAME.process`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE), ("scontrol", SCONTROL)):
        (folder / name).write_text(f"#!{sys.executable}{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def test_slurm_jobs_are_an_array_and_a_preempted_one_goes_on(launch, slurm, fake_train, tmp_path):
    grids = [Grid("base2new", ["digits"], seeds=[fake_train.HANG, fake_train.FAIL])]

    def preempt():
        os.kill(int((slurm / "77_0.process").read_text()), signal.SIGUSR2)

    when(folder(tmp_path, grids) / "hangs", preempt)
    words = ["--partition", "gpu", "--time", "2:00:00", "--cpus", "3", "--concurrency", "2", "--slurm", "account=us"]
    assert launch(grids, "--launcher", "slurm", *words) == (
        0,
        [(0, ""), (0, ""), (1, "error: a line about it"), (None, "its training run is not done")],
    )
    assert (folder(tmp_path, grids) / "saved").exists()
    script = tmp_path / "runs" / cluster.JOBS / "77_submission.sh"
    lines = script.read_text().splitlines()
    for option in ("partition=gpu", "time=120", "gpus-per-node=1", "cpus-per-task=3", "array=0-1%2", "account=us"):
        assert f"#SBATCH --{option}" in lines
    assert "#SBATCH --requeue" in lines


def test_many_jobs_are_several_arrays_that_share_the_places(launch, slurm, fake_train, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ARRAY", 2)
    grids = [Grid("fewshot", ["digits"], seeds=[0, 1, 2, 6])]
    assert launch(grids, "--launcher", "slurm", "--concurrency", "3") == (0, [(0, "")] * 4)
    scripts = sorted((tmp_path / "runs" / cluster.JOBS).glob("*_submission.sh"))
    assert [path.name for path in scripts] == ["77_submission.sh", "78_submission.sh"]
    assert all("#SBATCH --array=0-1%1" in path.read_text().splitlines() for path in scripts)


def test_slurm_starts_all_at_once_so_a_failure_cannot_hold_any_back(launch, slurm):
    with pytest.raises(ValueError, match="--no-keep-going is not for --launcher slurm"):
        launch([Grid("fewshot", ["digits"], seeds=[1])], "--launcher", "slurm", keep_going=False)


def test_a_job_that_leaves_no_word(launch, slurm, fake_train, tmp_path):
    grids = [Grid("fewshot", ["digits"], seeds=[fake_train.HANG])]
    when(folder(tmp_path, grids) / "hangs", lambda: os.kill(int((slurm / "77.process").read_text()), signal.SIGKILL))
    status, [(code, line)] = launch(grids, "--launcher", "slurm", "--gpus", "0")
    assert (status, code) == (0, 1) and line.startswith("its job 77 left no word: see ")
    script = tmp_path / "runs" / cluster.JOBS / "77_submission.sh"
    assert "gpus" not in script.read_text()


def test_slurm_that_is_not_there_and_one_that_refuses(launch, slurm):
    grids = [Grid("fewshot", ["digits"], seeds=[1])]
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: gpu' >&2; exit 1\n")
    with pytest.raises(ValueError, match="sbatch refused: .*invalid partition specified: gpu") as error:
        launch(grids, "--launcher", "slurm")
    assert "\n" not in str(error.value)
    os.environ["PATH"] = "/nowhere"  # the fixture puts it back
    with pytest.raises(ValueError, match="needs Slurm's sbatch and srun, and they are not in PATH"):
        launch(grids, "--launcher", "slurm")
