"""Data that change under a run, as users change them: train.py gives the number of these very data, or one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datasets.digits import CLASSES, Digits
from runs import record
from tests import calls

CASES = Path(__file__).parents[1] / "data/cases"
QUICK = ("OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2")
REMEDY = "put the data back as they were, choose another output folder, or remove this one"


@pytest.fixture(scope="module")
def digits(digits_root) -> Path:
    return digits_root / "digits" / Digits.images


class User:
    """Images in ``data/mine`` under a folder, and train.py called on them."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder, self.mine, self.capsys = folder, folder / "data/mine", capsys

    def train(
        self, output: str, *options: str, loader: str = "imagefolder", method: str = "MMRL"
    ) -> tuple[int, str, str]:
        """Exit status, and what stands on stdout and on stderr."""
        options = (*options, "DATASET.FOLDER", "mine")
        words = calls.words(self.folder / "data", self.folder / output, *options, method=method, dataset=loader)
        return calls.call(words), *self.capsys.readouterr()

    def record(self, output: str) -> dict:
        return record.read(self.folder / output)


@pytest.fixture
def user(tmp_path, capsys, digits) -> User:
    user = User(tmp_path, capsys)
    user.mine.mkdir(parents=True)
    return user


def plant(user: User, digits: Path, names, count: int = 30) -> None:
    for name in names:
        (user.mine / name).mkdir()
        for path in sorted((digits / name).iterdir())[:count]:
            shutil.copy(path, user.mine / name)


def test_a_corrected_table_is_other_data(user, digits):
    """Cases t_wrong.csv and t_right.csv: "Finished before, nothing to do" was said of the corrected file."""
    table, options = user.folder / "data/t.csv", ("DATASET.TABLE", "../t.csv")
    names = {"loader": "table", "method": "ZeroshotCLIP"}
    shutil.rmtree(user.mine)
    shutil.copytree(digits, user.mine)
    shutil.copy(CASES / "t_wrong.csv", table)
    assert user.train("run", *options, **names)[0] == 0
    wrong = user.record("run")["accuracy"]
    shutil.copy(CASES / "t_right.csv", table)
    status, out, err = user.train("run", *options, **names)
    assert status == 1 and "Finished before" not in out
    assert err.startswith(f"error: {user.folder}/run holds a run on other data: ") and "relabelled (" in err
    assert err.endswith(f"; {REMEDY}\n") and err.count("\n") == 1
    assert user.record("run")["accuracy"] == wrong  # nothing is lost
    assert user.train("again", *options, **names)[0] == 0
    assert user.record("again")["accuracy"] > 70 > 30 > wrong


def test_a_stopped_run_does_not_go_on_with_other_labels(user, digits, monkeypatch):
    from trainers.mmrl import MMRL

    plant(user, digits, CLASSES[:4])
    step, stop = MMRL.forward_backward, [True]

    def stepped(trainer, batch):
        if trainer.epoch == 1 and stop:
            trainer.request_stop()
        return step(trainer, batch)

    options = ("OPTIM.MAX_EPOCH", "3", "DATASET.NUM_SHOTS", "2")
    with monkeypatch.context() as patch:
        patch.setattr(MMRL, "forward_backward", stepped)
        assert user.train("run", *options)[0] == 75
    drawn = user.record("run")["data"]
    moved = next(iter((user.mine / "zero").iterdir()))
    moved.rename(user.mine / "one" / f"{moved.stem}-moved.png")
    status, _, err = user.train("run", *options)
    assert status == 1 and f"error: {user.folder}/run holds a run on other data: " in err and "image" in err
    # Its state cannot be taken along into another folder either, not even without the record.
    status, _, err = user.train("other", "--resume", str(user.folder / "run"), *options)
    assert status == 1 and f"{user.folder}/run holds a run on other data" in err
    (user.folder / "run/record.json").rename(user.folder / "kept")
    err = user.train("other", "--resume", f"{user.folder}/run", *options)[2]
    assert "resume.pth.tar: it was trained on other data: another " in err and err.count("\n") == 1
    (user.folder / "kept").rename(user.folder / "run/record.json")
    # Put back as it was, the run goes on.
    (user.mine / "one" / f"{moved.stem}-moved.png").rename(moved)
    assert user.train("run", *options)[0] == 0
    assert user.record("run")["status"] == "success" and user.record("run")["data"] == drawn


def test_a_removed_image_is_told_by_the_next_run(user, digits):
    """The case: an image is found to be damaged after training, and deleted; the same command must not go on."""
    plant(user, digits, CLASSES[:4], count=8)
    assert user.train("run", "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "-1")[0] == 0
    next(iter((user.mine / "two").iterdir())).unlink()
    status, _, err = user.train("run", "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "-1")
    assert status == 1 and "1 image gone (two/" in err


def test_classes_added_between_base_and_new(user, digits):
    plant(user, digits, CLASSES[:6])
    assert user.train("base", *QUICK, "DATASET.SUBSAMPLE_CLASSES", "base")[0] == 0
    model = ("--eval-only", "--model-dir", str(user.folder / "base"), *QUICK, "DATASET.SUBSAMPLE_CLASSES", "new")
    plant(user, digits, CLASSES[6:8])
    status, _, err = user.train("new", *model)
    path = next((user.folder / "base").glob("*/*.safetensors"))
    assert (status, err) == (
        1,
        f"error: {path} was trained on other data: 2 classes added (seven, six); put the data back as they were, train "
        "again in another folder, or test these as another data set (TASK CD)\n",
    )
    assert user.record("new")["status"] == "failed"
    for name in CLASSES[6:8]:
        shutil.rmtree(user.mine / name)
    assert user.train("new", *model)[0] == 0
    content = user.record("new")
    trained = user.record("base")["data"]["classnames"]
    assert content["data"]["trained_on"] == trained and not set(trained) & set(content["data"]["classnames"])


def test_halves_of_one_class_are_refused_and_small_ones_marked(user, digits):
    plant(user, digits, CLASSES[:3])
    status, _, err = user.train("three", *QUICK, "DATASET.SUBSAMPLE_CLASSES", "base")
    assert (status, err) == (
        1,
        "error: ImageFolder: base to new needs four classes, two in each half, and the data set has 3: use all of its "
        "classes (scripts/fewshot/fewshot.sh, or TASK FS with DATASET.SUBSAMPLE_CLASSES all)\n",
    )
    plant(user, digits, CLASSES[3:4])
    status, out, _ = user.train("four", *QUICK, "DATASET.SUBSAMPLE_CLASSES", "base")
    lines = {
        "small_half": "the base half has two classes only, of which guessing gets one in two right",
        "small_test": "18 images tested: one is 5.6 points",
    }
    assert status == 0 and user.record("four")["notes"] == lines
    assert all(f"note: {line}\n" in out for line in lines.values())
    assert user.train("all", *QUICK)[0] == 0 and "notes" not in user.record("all")  # 36 images of four classes


def test_what_was_learned_says_its_data(user, digits):
    from trainers.shared import checkpoints

    plant(user, digits, CLASSES[:4])
    assert user.train("run", *QUICK, "TRAIN.RESUME_FREQ", "1")[0] == 0
    _, about = checkpoints.read(next((user.folder / "run").glob("*/*.safetensors")))
    told = user.record("run")["data"]
    assert about["classnames"] == told["classnames"]
    assert {key: about["data"][key] for key in told if key != "classnames"} == {
        key: value for key, value in told.items() if key != "classnames"
    }
