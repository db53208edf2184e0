"""Bad input: one line that names it, a non-zero exit, and nothing lost. In this process, since torch is loaded once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common import files
from runs import record
from tests import calls
from tests.calls import CONFIGS
from tests.e2e import bad_inputs, mishaps
from tests.e2e.bad_inputs import QUICK
from tests.e2e.mishaps import ROOT
from tests.few_digits import TESTED


class User:
    """One user's folders, and train.py called in them."""

    def __init__(self, data: Path, run: Path, capsys) -> None:
        self.data, self.run, self.capsys = data, run, capsys

    def train(self, *options: str, **names: str) -> tuple[int, str]:
        """Exit status and what stands on stderr."""
        status = calls.call(calls.words(self.data, self.run, *options, **names))
        return status, self.capsys.readouterr().err

    def error(self, *options: str, **names: str) -> str:
        """The one line of a call that must fail."""
        status, err = self.train(*options, **names)
        assert status == 1 and err.startswith("error: ") and err.count("\n") == 1, err
        return err[len("error: ") : -1]


@pytest.fixture(scope="module")
def data(data_root) -> Path:
    return data_root


@pytest.fixture
def user(tmp_path, data, capsys) -> User:
    return User(data, tmp_path / "run", capsys)


def test_a_missing_root(user, data, tmp_path):
    user.data = tmp_path / "nowhere"
    assert str(user.data) in user.error()
    # Mended (the root is no part of what a run is), the same run goes on.
    user.data.symlink_to(data)
    assert user.train(*QUICK)[0] == 0


def test_a_wrong_name_leaves_no_trace(user):
    user.error(dataset="digit")
    assert not user.run.exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert calls.call(calls.words(data, folder, *QUICK)) == 0
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", bad_inputs.CASES, ids=lambda case: case.name)
def test_the_first_line_of_each_bad_input(case, user, finished, tmp_path):
    """It is the only line, the exit status is 1, nothing hostile runs, and a run that was there is as it was."""
    if case.dataset != "digits":
        user.data = tmp_path / "data"
        user.data.mkdir()
    case.stage(mishaps.Place(tmp_path, user.data, finished))
    before = contents(tmp_path)
    names = {"tmp": tmp_path, "data": user.data, "configs": CONFIGS}
    options = [word.format(**names) for word in case.options]
    line = user.error(*options, dataset=case.dataset, method=case.method)
    wanted = case.line.format(**names)
    assert line == wanted or wanted.endswith("...") and line.startswith(wanted[:-3])
    after = contents(tmp_path)
    assert {path: after.get(path) for path in before} == before
    log = user.run / "log.txt"
    assert not log.exists() or "executed" not in log.read_text()


def test_a_method_that_learns_nothing_needs_no_checkpoint(user, tmp_path):
    assert user.train("--output-dir", str(tmp_path / "zero"), "--eval-only", method="ZeroshotCLIP")[0] == 0


def test_the_official_stream_is_part_of_what_a_run_is(user):
    assert user.train(*QUICK) == (0, "")
    kept = record.read(user.run)
    assert kept["config"]["OFFICIAL_STREAM"] is True
    assert "those of the method's public code" in (user.run / "log.txt").read_text()
    assert user.train("--official-stream", *QUICK) == (0, "")  # the same run, finished
    assert "OFFICIAL_STREAM: True -> False" in user.error(*QUICK, "OFFICIAL_STREAM", "False")
    del kept["config"]["OFFICIAL_STREAM"]
    record.write(user.run, kept)
    assert "OFFICIAL_STREAM: False -> True" in user.error(*QUICK)  # a run from before there was a choice


def test_an_unreadable_image_has_its_workers_traceback_in_the_log(user, tmp_path):
    user.data = tmp_path / "data"
    mishaps.pet_images(mishaps.no_image)(mishaps.Place(tmp_path, user.data, tmp_path))
    options = ("DATALOADER.NUM_WORKERS", "1", "DATALOADER.CHECK_IMAGES", "False")
    line = user.error(*QUICK, *options, dataset="oxford_pets")
    assert line == f"cannot read image {user.data}/oxford_pets/images/2_1.jpg: not an image file"
    assert "Traceback" in (user.run / "log.txt").read_text()


def test_a_loss_that_is_not_finite(user):
    """The warm-up epoch is sound and saved; the next one's learning rate breaks the loss."""
    options = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "3", "OPTIM.LR", "1e30"]
    line = user.error(*options)
    assert line.startswith("the loss is nan at epoch 2, batch ")
    content = record.read(user.run)
    assert (content["status"], content["error"]) == ("failed", line)
    saved = torch.load(user.run / "resume.pth.tar", weights_only=True)
    assert saved["epoch"] == 1
    assert "holds a run of another configuration: OPTIM.LR: 1e+30 -> 0.001" in user.error(*options[:-1], "0.001")

    path = user.run / "resume.pth.tar"
    damaged = f"cannot load checkpoint {path}: damaged, or not a checkpoint"
    whole = path.read_bytes()
    for damage in (mishaps.flip, mishaps.cut, mishaps.archive_bomb, mishaps.pickle_bomb):
        path.write_bytes(whole)
        damage(path)
        line = user.error(*options)
        assert line.startswith(damaged) and line.endswith("; remove it to train from scratch")
    assert "executed" not in (user.run / "log.txt").read_text()


HOLD = """
import sys, time
from pathlib import Path
from common.files import lock
from tests.few_digits import TESTED
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(files.fcntl is None, reason="no fcntl here")
def test_a_run_that_another_process_is_running(user):
    user.run.mkdir()
    words = [sys.executable, "-c", HOLD, str(user.run / record.LOCK)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert f"is being run by another process (process {holder.pid} on" in user.error()
        holder.kill()
    assert not (user.run / "log.txt").exists()


def test_a_fault_of_the_program_shows_its_traceback_and_is_on_record(user, monkeypatch):
    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr("runs.execute.train_and_test", broken)
    with pytest.raises(TypeError, match="a bug"):
        user.train()
    assert record.read(user.run)["error"] == "a bug"
    assert "in broken" in (user.run / "log.txt").read_text()


def test_a_reader_of_the_output_that_goes_away_is_said(user, monkeypatch):
    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("runs.execute.train_and_test", broken)
    assert user.error() == "[Errno 32] Broken pipe" and record.read(user.run)["status"] == "failed"


def test_an_interrupted_run_stays_unfinished(user, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("runs.execute.train_and_test", interrupted)
    status, err = user.train()
    assert status == 130 and "the same command goes on" in err
    assert record.read(user.run)["status"] == "running"


def test_no_train_builds_and_leaves_no_record(user):
    assert user.train("--no-train")[0] == 0
    assert record.read(user.run) is None and not list(user.run.rglob("model*"))


def test_scores_that_are_not_finite_are_no_result(user, monkeypatch):
    """The loss of a training does not show them: nothing is trained here."""
    monkeypatch.setattr("trainers.zsclip.ZeroshotModel.scores", lambda *_: torch.full((_[1].shape[0], 10), torch.nan))
    line = user.error(method="ZeroshotCLIP")
    count = sum(TESTED.values())
    assert line.startswith(f"ZeroshotCLIP gives {count} of {count} images of the test set scores that are NaN or inf")
    content = record.read(user.run)
    assert (content["status"], content["error"]) == ("failed", line) and "accuracy" not in content
    assert "=> result" not in (user.run / "log.txt").read_text()


def test_what_a_bare_file_does_not_say_is_on_record(user, tmp_path):
    path = shutil.copy(ROOT / "clip/embedded.safetensors", tmp_path / "w.safetensors")
    assert user.train("--backbone", str(path), method="ZeroshotCLIP")[0] == 0
    notes = record.read(user.run)["notes"]
    assert notes["backbone"].startswith(f"{path} does not say how it computes: taken as QuickGELU, heads of 64; ")
    assert notes["backbone_images"].startswith(f"the images that {path} was trained on are not known")
