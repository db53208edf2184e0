"""Bad input: one line that names it, a non-zero exit, and nothing lost. In this process, since torch is loaded once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import train
from runs import files, record

ROOT = Path(train.__file__).parent
CONFIGS = ROOT / "configs"


class User:
    """One user's folders, and train.py called in them."""

    def __init__(self, data: Path, run: Path, monkeypatch, capsys) -> None:
        self.data, self.run = data, run
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def words(self, *options: str, dataset: str = "digits", method: str = "MMRL") -> list[str]:
        named = {
            "--root": self.data,
            "--output-dir": self.run,
            "--seed": 1,
            "--trainer": method,
            "--dataset-config-file": CONFIGS / f"datasets/{dataset}.yaml",
            "--config-file": CONFIGS / f"trainers/{method}/embedded.yaml",
        }
        first = [word for pair in named.items() for word in map(str, pair)]
        return [*first, *options]

    def train(self, *options: str, **names: str) -> tuple[int, str]:
        """Exit status and what stands on stderr."""
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *self.words(*options, **names)])
            patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
            patch.setattr(sys, "stderr", sys.stderr)
            status = train.main()
        return status, self.capsys.readouterr().err

    def error(self, *options: str, **names: str) -> str:
        """The one line of a call that must fail."""
        status, err = self.train(*options, **names)
        assert status == 1 and err.startswith("error: ") and err.count("\n") == 1, err
        return err[len("error: ") : -1]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def user(tmp_path, data, monkeypatch, capsys) -> User:
    return User(data, tmp_path / "run", monkeypatch, capsys)


@pytest.fixture
def pets(user, tmp_path) -> Path:
    """OxfordPets in small: four classes of three grey images, from a split file."""
    user.data = tmp_path / "data"
    folder = user.data / "oxford_pets"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    items = []
    for label, name in enumerate(["cat", "dog", "cow", "pig"]):
        for number in range(3):
            Image.new("RGB", (40, 40), (60 * label, 80, 80)).save(folder / "images" / f"{name}_{number}.jpg")
            items.append([f"{name}_{number}.jpg", label, name])
    write_split(folder, items)
    return folder


def write_split(folder: Path, items: list) -> None:
    split = {"train": items, "val": items, "test": items}
    (folder / "split_zhou_OxfordPets.json").write_text(json.dumps(split))


def rename(folder: Path, old: str, new: str) -> None:
    path = folder / "split_zhou_OxfordPets.json"
    items = json.loads(path.read_text())["train"]
    write_split(folder, [[image, label, new if name == old else name] for image, label, name in items])


QUICK = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2"]


def test_a_missing_root(user, tmp_path):
    user.data = tmp_path / "nowhere"
    assert str(user.data) in user.error()
    # Mended (the root is no part of what a run is), the same run goes on.
    user.data.mkdir()
    assert user.train(*QUICK)[0] == 0


def test_names_that_do_not_exist(user, tmp_path):
    assert "configs/datasets/digit.yaml; did you mean digits.yaml" in user.error(dataset="digit")
    assert not user.run.exists()  # refused before anything is written
    assert "ViT-B/16" in user.error("MODEL.BACKBONE.NAME", "ViT-B/61")
    assert "there is no folder" in user.error("--eval-only", "--model-dir", str(tmp_path / "none"))
    assert "there is no folder" in user.error("--resume", str(tmp_path / "none"))


def test_a_missing_checkpoint(user, tmp_path):
    assert user.error("--eval-only").startswith("--eval-only needs --model-dir")
    (tmp_path / "empty").mkdir()
    assert "no checkpoint" in user.error("--eval-only", "--model-dir", str(tmp_path / "empty"))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off"])
def test_corrupt_weights(user, tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert str(path) in user.error("MODEL.BACKBONE.NAME", str(path))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("TRAINER.MMRL.REP_LAYERS", "[]", "REP_LAYERS"),
        ("TRAINER.MMRL.REP_LAYERS", "[7, 8]", "REP_LAYERS"),
        ("TRAINER.MMRL.N_REP_TOKENS", "0", "N_REP_TOKENS"),
        ("TRAINER.MMRL.FUSION", "both", "FUSION"),
        ("TRAINER.MMRL.PREC", "fp8", "PREC"),
        ("INPUT.SIZE", "(40, 40)", "INPUT.SIZE"),
    ],
)
def test_settings_that_do_not_fit_the_model(user, key, value, named):
    assert named in user.error(key, value)


def test_wrong_checkpoints_say_what_differs(user, tmp_path):
    assert user.train(*QUICK)[0] == 0
    evaluate = ["--eval-only", "--model-dir", str(user.run), "--output-dir", str(tmp_path / "test")]
    for key, value, named in [
        ("TRAINER.MMRL.N_REP_TOKENS", "4", "N_REP_TOKENS is 5 there, 4 here"),
        ("TRAINER.MMRL.REP_DIM", "64", "REP_DIM is 512 there, 64 here"),
        ("TRAINER.MMRL.REP_LAYERS", "[4, 5, 6]", "REP_LAYERS is [3, 4, 5, 6] there, [4, 5, 6] here"),
    ]:
        assert named in user.error(*evaluate, key, value)
    assert "model.pth.tar-9" in user.error(*evaluate, "--load-epoch", "9")
    (path,) = user.run.glob("*/model.pth.tar-1")
    path.write_bytes(path.read_bytes()[:1000])
    assert str(path) in user.error(*evaluate)
    assert user.train("--output-dir", str(tmp_path / "zero"), "--eval-only", method="ZeroshotCLIP")[0] == 0


def test_a_class_name_of_80_tokens(user, pets):
    rename(pets, "dog", " ".join(["dog"] * 80))
    assert "dog dog dog" in user.error(*QUICK, dataset="oxford_pets")


def test_images_that_are_missing_or_no_images(user, pets):
    (pets / "images/cow_1.jpg").write_bytes(b"no image")
    assert "cow_1.jpg" in user.error(*QUICK, dataset="oxford_pets")
    (pets / "images/cow_1.jpg").unlink()
    assert "cow_1.jpg" in user.error(*QUICK, dataset="oxford_pets")


def test_an_unreadable_image_is_named_from_a_loader_worker_too(user, pets):
    (pets / "images/cow_1.jpg").write_bytes(b"no image")
    line = user.error(*QUICK, "DATALOADER.NUM_WORKERS", "1", dataset="oxford_pets")
    assert "cow_1.jpg" in line and "Traceback" not in line
    assert "Traceback" in (user.run / "log.txt").read_text()


def test_a_loss_that_is_not_finite(user):
    """The warm-up epoch is sound and saved; the next one's learning rate breaks the loss."""
    options = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "3", "OPTIM.LR", "1e30"]
    line = user.error(*options)
    assert "epoch 2" in line and "batch" in line
    content = record.read(user.run)
    assert (content["status"], content["error"]) == ("failed", line)
    saved = torch.load(user.run / "resume.pth.tar", weights_only=True)
    assert saved["epoch"] == 1
    assert "holds a run of another configuration: OPTIM.LR: 1e+30 -> 0.001" in user.error(*options, "OPTIM.LR", "0.001")


HOLD = """
import sys, time
from pathlib import Path
from runs.files import lock
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

    monkeypatch.setattr(train, "execute", broken)
    with pytest.raises(TypeError, match="a bug"):
        user.train()
    assert record.read(user.run)["error"] == "a bug"
    assert "in broken" in (user.run / "log.txt").read_text()


def test_an_interrupted_run_stays_unfinished(user, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "execute", interrupted)
    status, err = user.train()
    assert status == 130 and "the same command goes on" in err
    assert record.read(user.run)["status"] == "running"


def test_no_train_builds_and_leaves_no_record(user):
    assert user.train("--no-train")[0] == 0
    assert record.read(user.run) is None and not list(user.run.rglob("*.pth.tar*"))
