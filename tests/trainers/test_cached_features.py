"""FEATURES.ONCE: runs on cached features end as runs on pixels, and the cache holds what it must, or says so."""

from __future__ import annotations

import os
import random
from shutil import copyfile

import numpy as np
import pytest
import torch

from clip.model import CLIP
from dassl.data.datasets import Datum
from trainers.shared.feature_files import FeatureFiles

METHODS = {
    "ZeroshotCLIP": [],
    "LinearProbe": ["TRAINER.LINEARPROBE.SEARCH_STEPS", 0],
    "TipAdapter": ["TRAINER.TIPADAPTER.AUGMENT_EPOCH", 2],
    "TipAdapterF": ["TRAINER.TIPADAPTER.AUGMENT_EPOCH", 2],
    "CLIPAdapter": [],
    "TaskRes": [],
    "ADAPTER": [],
    "LinearProbe_P2": [],
    "ProLIP": [],
}
CROPS = ("INPUT.TRANSFORMS", ("random_resized_crop", "normalize"))


@pytest.fixture
def once(make_trainer, tmp_path):
    """``once(method, KEY, VALUE, ...)``: a trainer on features, in a run's folder of its own."""
    runs = iter(range(9))

    def make(method, *options):
        where = ["OUTPUT_DIR", str(tmp_path / f"once-{next(runs)}"), "FEATURES.FOLDER", str(tmp_path / "features")]
        return make_trainer(method, "FEATURES.ONCE", True, *where, *options)

    return make


def outcome(trainer):
    """What a run ends with: learned tensors, and the accuracy of its test."""
    trainer.train()
    return trainer.model.state_dict(), trainer.evaluator._correct


def train_features(trainer):
    return trainer.dm.train_loader_x.dataset.features


@pytest.mark.parametrize("method", METHODS)
def test_a_run_ends_as_on_pixels(method, make_trainer, once):
    """Training here has no crops, so that the plain view is what it sees."""
    run = [method, *METHODS[method]]
    learned, correct = outcome(make_trainer(*run))
    found, found_correct = outcome(once(*run))
    assert found_correct == correct
    for name, value in learned.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


def test_the_next_run_asks_the_tower_for_nothing(once, monkeypatch):
    run = ["TipAdapterF", *METHODS["TipAdapterF"]]
    found, correct = outcome(once(*run))
    monkeypatch.setattr(CLIP, "encode_image", None)
    again, again_correct = outcome(once(*run))
    assert again_correct == correct and all(torch.equal(value, again[name]) for name, value in found.items())


def test_views_are_fixed_by_content_and_each_is_used(once, tmp_path):
    """Another run, with other draws and in workers, finds the same ones where it encodes the images anew."""
    options = ["CLIPAdapter", "FEATURES.VIEWS", 3, *CROPS]
    trainer = once(*options)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    features = train_features(trainer)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()
    assert features.shape == (20, 3, 32) and (features[:, 1:] - features[:, :1]).abs().amax(dim=2).min() > 1e-3
    dataset = once(
        *options, "SEED", 2, "DATALOADER.NUM_WORKERS", 2, "FEATURES.FOLDER", str(tmp_path / "other")
    ).dm.train_loader_x.dataset
    found = dataset.source.of(trainer.dm.dataset.train_x, True, dataset.transform)
    torch.testing.assert_close(found, features)
    seen = {tuple(row) for _ in range(20) for batch in trainer.train_loader_x for row in batch["img"].tolist()}
    assert seen == {tuple(row) for row in features.flatten(0, 1).tolist()}


def test_a_killed_run_on_views_goes_on_with_the_same_bits(once):
    options = ["FEATURES.VIEWS", 2, "TRAIN.RESUME_FREQ", 2, "TEST.NO_TEST", True, *CROPS]
    whole = once("CLIPAdapter", *options)
    whole.train()
    killed = once("CLIPAdapter", *options)
    step = killed.forward_backward

    def forward_backward(batch):
        if (killed.epoch, killed.batch_idx) == (1, 3):
            raise KeyboardInterrupt
        return step(batch)

    killed.forward_backward = forward_backward
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = once("CLIPAdapter", *options, "OUTPUT_DIR", killed.output_dir)
    resumed.train()
    assert resumed.start_epoch == 1
    assert all(torch.equal(value, resumed.model.state_dict()[name]) for name, value in whole.model.state_dict().items())


def test_few_values_are_learned_on_one_thread_and_images_encoded_on_all(once, monkeypatch):
    torch.set_num_threads(2)
    trainer = once("CLIPAdapter", "OPTIM.MAX_EPOCH", 1)
    step, encode, seen = trainer.forward_backward, CLIP.encode_image, {}
    trainer.forward_backward = lambda batch: (seen.update(step=torch.get_num_threads()), step(batch))[1]
    monkeypatch.setattr(CLIP, "encode_image", lambda *of: (seen.update(tower=torch.get_num_threads()), encode(*of))[1])
    trainer.train()
    assert seen == {"step": 1, "tower": 2} and torch.get_num_threads() == 2


def test_what_changes_a_feature_has_features_of_its_own(once):
    """Pixels and precision do; crops, batches and the method leave the plain view alone."""

    def folder(*options):
        return once(*options).dm.test_loader.dataset.source.files[False].folder

    others = [["INPUT.PIXEL_MEAN", [0.5] * 3], ["TRAINER.CLIPADAPTER.PREC", "bf16"], ["INPUT.READ", "upright"]]
    assert len({folder("CLIPAdapter", *options) for options in (*others, [])}) == 4
    assert folder("CLIPAdapter", *CROPS) == folder("LinearProbe", "DATALOADER.TEST.BATCH_SIZE", 7)


def test_what_a_file_holds_counts_not_its_name(once, tmp_path):
    trainer = once("CLIPAdapter")
    dataset = trainer.dm.train_loader_x.dataset
    ends = [dataset.data_source[0].impath, dataset.data_source[-1].impath]
    swapped = [Datum(copyfile(path, f"{tmp_path}/{number}.png")) for number, path in enumerate(ends)]
    assert torch.equal(dataset.source.of(swapped, True, None)[:, 0], dataset.features[[0, -1], 0])
    copyfile(swapped[1].impath, swapped[0].impath)
    found = once("CLIPAdapter").dm.train_loader_x.dataset.source.of(swapped[:1], True, None)
    assert torch.equal(found[:, 0], dataset.features[-1:, 0])


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damage_is_noticed_and_mended(damage, once, capsys, tmp_path):
    wanted = train_features(once("CLIPAdapter"))
    (path,) = (tmp_path / "features").rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-9])
    assert torch.equal(train_features(once("CLIPAdapter")), wanted)
    assert f"note: {path} is damaged: it is deleted, and its images are encoded again" in capsys.readouterr().out
    assert not path.exists() and len([*path.parent.iterdir()]) == 1


def test_the_folder_is_bounded_and_shared(tmp_path, capsys):
    """Two writers; what was used last stays."""
    one, two = (FeatureFiles(tmp_path, 1.0, {"a": 1}) for _ in range(2))
    one.prepare()
    values = {name: torch.randn(100) for name in "xyz"}
    for files, name in ((one, "x"), (two, "y")):
        files.write({name: values[name]})
    for age, path in enumerate(sorted(one.folder.iterdir())):
        os.utime(path, (age, age))
    assert torch.equal(one.read(["y"])["y"], values["y"]) and set(two.read("xyz")) == {"x", "y"}
    for path in one.folder.iterdir():
        os.utime(path, (0, 0))
    one.read(["x"])
    size = next(one.folder.iterdir()).stat().st_size
    (one.folder / ".features-killed.safetensors.incomplete").write_bytes(bytes(10))
    os.utime(one.folder / ".features-killed.safetensors.incomplete", (0, 0))
    FeatureFiles(tmp_path, 2.1 * size / 1e9, {"a": 1}).write({"z": values["z"]})
    assert set(one.read("xyz")) == {"x", "z"} and len([*one.folder.iterdir()]) == 2
    assert "note: 2 files of features were deleted to stay within FEATURES.MAX_GB" in capsys.readouterr().out


def test_without_room_nothing_is_kept(once, tmp_path):
    assert outcome(once("TipAdapterF", "FEATURES.MAX_GB", 0.0))[1] > 0
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("method", "options", "line"),
    [
        ("CoOp", ["FEATURES.ONCE", True], "FEATURES.ONCE: CoOp works within CLIP's towers, so their features are not"),
        ("CLIPAdapter", ["FEATURES.VIEWS", 2], "FEATURES.VIEWS 2 needs FEATURES.ONCE True"),
    ],
)
def test_what_cannot_be_is_refused(method, options, line, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, *options)
    assert str(caught.value).startswith(line)


def test_a_folder_that_cannot_be_written_and_a_feature_that_is_none_are_named(once, tmp_path, monkeypatch):
    (tmp_path / "features").write_text("in the way")
    with pytest.raises(OSError, match=r"^cannot keep features in \S+: .*: name another folder in FEATURES.FOLDER$"):
        once("CLIPAdapter").train()
    real = CLIP.encode_image
    monkeypatch.setattr(CLIP, "encode_image", lambda *given: real(*given).index_fill(0, torch.tensor([2]), torch.nan))
    trainer = once("CLIPAdapter", "FEATURES.FOLDER", str(tmp_path / "other"))
    with pytest.raises(FloatingPointError) as caught:
        train_features(trainer)
    assert trainer.dm.dataset.train_x[2].impath in str(caught.value)
