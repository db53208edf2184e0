"""Two finished runs on few Digits with the embedded CLIP, a folder of digits, and commands called in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Subset

import datasets
import trainers
from dassl.engine import build_trainer
from runs.open import recorded_cfg
from tests import calls
from tests.trainers.conftest import data_root  # noqa: F401

BASE = ["zero", "one", "two", "three", "four"]
EVALUATED = 20  # images in a batch: two batches, of which the last is not full
NEW = ["five", "six", "seven", "eight", "nine"]
QUICK = ["OPTIM.MAX_EPOCH", "3", "DATASET.NUM_SHOTS", "4"]


@pytest.fixture(scope="session")
def data(data_root) -> Path:  # noqa: F811
    return data_root


def trained(method: str, folder: Path, data: Path, *options: str) -> Path:
    assert calls.call(calls.words(data, folder, *options, method=method)) == 0
    return folder


def evaluation(run, classes, *options):
    """Paths and scores of the trainer's own test of a run's model on every second image of these classes."""
    datasets.load_all()
    cfg = recorded_cfg(run)
    trainers.load(cfg.TRAINER.NAME)
    cfg.merge_from_list(["DATASET.SUBSAMPLE_CLASSES", classes, *options])
    trainer = build_trainer(cfg)
    trainer.load_model(str(run))
    loader = trainer.test_loader
    some = Subset(loader.dataset, range(0, len(loader.dataset), 2))
    trainer.test_loader = DataLoader(some, batch_size=EVALUATED, collate_fn=loader.collate_fn)
    scores = []
    process = trainer.evaluator.process
    trainer.evaluator.process = lambda mo, gt: (scores.append(mo.clone()), process(mo, gt))
    trainer.test()
    return [item.impath for item in trainer.dm.dataset.test[::2]], scores


@pytest.fixture(scope="session")
def mmrl_run(shared, data) -> Path:
    """MMRL after a few steps on the base classes, strong enough to leave its initial values."""
    options = [*QUICK, "DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.LR", "0.002"]
    return shared("run-mmrl", lambda run: trained("MMRL", run, data, *options))


@pytest.fixture(scope="session")
def zero_shot_run(shared, data) -> Path:
    options = ["DATASET.SUBSAMPLE_CLASSES", "new", "DATASET.NUM_SHOTS", "1"]
    return shared("run-zero", lambda run: trained("ZeroshotCLIP", run, data, *options))


@pytest.fixture(scope="session")
def digits(tmp_path_factory, data, mmrl_run) -> Path:
    """One image of each class, ``0.png`` to ``9.png``, of which the last five lie in a sub-folder."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "more").mkdir()
    for number, name in enumerate([*BASE, *NEW]):
        source = min((data / "digits/images" / name).iterdir())
        shutil.copy(source, folder / ("more" if number > 4 else "") / f"{number}.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("not an image either")
    return folder


@pytest.fixture(scope="session")
def exported(shared, data, mmrl_run) -> Path:
    """All files of the first run's classes in another order, checked on two images of two of them."""
    from commands import export

    def make(folder: Path) -> None:
        for name in ("one", "four"):
            place = folder / "check" / name.upper()
            place.mkdir(parents=True)
            for source in sorted((data / "digits/images" / name).iterdir())[:2]:
                shutil.copy(source, place)
        words = ["--model-dir", mmrl_run, "--out", folder / "new", "--classes", ",".join(BASE[::-1]), "--int8"]
        assert export.main([*map(str, [*words, "--check", folder / "check"])]) == 0

    return shared("exported", make) / "new"


@pytest.fixture
def call(capsys):
    """``call(module, *words)``: exit status, stdout and stderr of a command."""

    def run(module, *words):
        capsys.readouterr()
        status = module.main([*map(str, words)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def single_thread():
    """Toy tensors are too small for threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
