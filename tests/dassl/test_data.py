"""Datasets, samplers, transforms and loaders."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dassl.config import get_cfg_default
from dassl.data import DataManager, DatasetWrapper
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import DatasetBase, Datum
from dassl.data.samplers import build_sampler
from dassl.data.transforms import build_transform
from dassl.data.transforms.transforms import AVAI_CHOICES


def items(labels, domains=None):
    return [SimpleNamespace(label=y, domain=d) for y, d in zip(labels, domains or labels, strict=True)]


def datum(path: Path, label: int, classname: str = "x") -> Datum:
    path.touch()
    return Datum(str(path), label, classname=classname)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 3), st.booleans())
def test_few_shot_draw(labels: list[int], shots: int, seed: int, repeat: bool) -> None:
    source = items(labels)
    base = object.__new__(DatasetBase)
    random.seed(seed)
    drawn = base.generate_fewshot_dataset(source, num_shots=shots, repeat=repeat)
    random.seed(seed)
    expected = []
    for label in dict.fromkeys(labels):
        group = [item for item in source if item.label == label]
        if len(group) >= shots:
            expected += random.sample(group, shots)
        else:
            expected += random.choices(group, k=shots) if repeat else group
    assert drawn == expected


def test_few_shot_sources() -> None:
    base = object.__new__(DatasetBase)
    a, b = items([0, 0, 1]), items([1, 1])
    assert base.generate_fewshot_dataset(a) is a
    first, second = base.generate_fewshot_dataset(a, b, num_shots=1)
    assert [i.label for i in first] == [0, 1] and [i.label for i in second] == [1]


def test_dataset_facts(tmp_path: Path) -> None:
    train = [datum(tmp_path / "b", 1, "bee"), datum(tmp_path / "a", 0, "ant")]
    dataset = DatasetBase(train_x=train, test=train)
    assert (dataset.num_classes, dataset.classnames, dataset.lab2cname) == (2, ["ant", "bee"], {0: "ant", 1: "bee"})
    with pytest.raises(ValueError, match=r"no training image for label\(s\) \[0\]"):
        DatasetBase(train_x=train[:1])
    with pytest.raises(ValueError, match="no training image"):
        DatasetBase(train_x=[])
    with pytest.raises(FileNotFoundError, match="no image file at /nowhere.jpg"):
        Datum("/nowhere.jpg")
    dataset.domains = ["photo", "sketch"]
    dataset.check_input_domains(["photo"], ["sketch"])
    with pytest.raises(ValueError, match="did you mean 'sketch'?"):
        dataset.check_input_domains(["photo"], ["sketh"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=12, max_size=40), st.integers(1, 3), st.integers(1, 2))
def test_domain_samplers_balance_every_batch(domains: list[int], share: int, n_domain: int) -> None:
    source = items(domains)
    present = sorted(set(domains))
    smallest = min(Counter(domains).values())
    for kind, in_batch in (("RandomDomainSampler", n_domain), ("SeqDomainSampler", len(present))):
        size = share * in_batch
        if in_batch > len(present):
            continue
        if smallest < share:
            with pytest.raises(ValueError, match="fewer than"):
                build_sampler(kind, data_source=source, batch_size=size, n_domain=n_domain)
            continue
        order = list(build_sampler(kind, data_source=source, batch_size=size, n_domain=n_domain))
        assert len(order) == len(set(order)) and len(order) % size == 0 and order
        for start in range(0, len(order), size):
            counts = Counter(domains[i] for i in order[start : start + size])
            assert set(counts.values()) == {share} and len(counts) == in_batch


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=40), st.integers(1, 4), st.integers(1, 3))
def test_class_sampler_fills_batches_with_whole_classes(labels: list[int], n_ins: int, classes: int) -> None:
    source = items(labels)
    size = n_ins * classes
    if classes > len(set(labels)):
        with pytest.raises(ValueError, match="classes"):
            build_sampler("RandomClassSampler", data_source=source, batch_size=size, n_ins=n_ins)
        return
    order = list(build_sampler("RandomClassSampler", data_source=source, batch_size=size, n_ins=n_ins))
    assert order and len(order) % size == 0
    for start in range(0, len(order), size):
        counts = Counter(labels[i] for i in order[start : start + size])
        assert set(counts.values()) == {n_ins} and len(counts) == classes


def test_unknown_sampler_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'RandomSampler'?"):
        build_sampler("RandomSample", data_source=[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_only_training_drops_a_partial_batch_if_a_full_one_exists(count: int, size: int, train: bool) -> None:
    cfg = get_cfg_default()
    cfg.DATALOADER.NUM_WORKERS = 0
    loader = build_data_loader(cfg, data_source=items([0] * count), batch_size=size, is_train=train)
    whole, rest = divmod(count, size)
    assert len(loader) == (whole if train and whole else whole + bool(rest))


def test_empty_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="empty list"):
        build_data_loader(get_cfg_default(), data_source=[])


def coop_cfg():
    cfg = get_cfg_default()
    cfg.INPUT.SIZE = (32, 32)
    cfg.INPUT.INTERPOLATION = "bicubic"
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    return cfg


def test_pipeline_lines(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = coop_cfg()
    build_transform(cfg, is_train=True)
    build_transform(cfg, is_train=False)
    norm = "+ normalization (mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])\n"
    assert capsys.readouterr().out == (
        "Building transform_train\n"
        "+ random resized crop (size=(32, 32), scale=(0.08, 1.0))\n"
        "+ random flip\n"
        "+ to torch tensor of range [0, 1]\n" + norm + "Building transform_test\n"
        "+ resize the smaller edge to 32\n"
        "+ 32x32 center crop\n"
        "+ to torch tensor of range [0, 1]\n" + norm
    )


def test_test_pipeline_values() -> None:
    image = Image.new("RGB", (90, 45), (255, 0, 51))
    out = build_transform(coop_cfg(), is_train=False)(image)
    assert out.shape == (3, 32, 32)
    expected = (torch.tensor([1.0, 0.0, 0.2]) - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(out[:, 5, 9], expected)


def test_squashed_test_images_lose_nothing_at_their_sides() -> None:
    image = Image.new("RGB", (90, 45))
    image.paste((255, 255, 255), (0, 0, 20, 45))
    cut, squashed = (build_transform(coop_cfg(), False, choices)(image) for choices in ((), ("squash",)))
    assert cut.shape == squashed.shape == (3, 32, 32) and cut.max() < 0.5 < squashed[:, :, :6].min()


@pytest.mark.parametrize("choice", [choice for choice in AVAI_CHOICES if choice != "squash"])
def test_every_choice_gives_an_image_of_the_asked_size(choice: str, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = coop_cfg()
    image = Image.merge("RGB", [Image.effect_noise((50, 40), spread) for spread in (30, 60, 90)])
    plain = build_transform(cfg, choices=())(image)
    capsys.readouterr()
    transform = build_transform(cfg, choices=(choice,))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (3 if choice in ("random_crop", "random_resized_crop") else 4)
    cfg.INPUT.CROP_PADDING = 0
    torch.manual_seed(0)
    outs = [transform(image) for _ in range(12)]
    assert all(out.shape == (3, 32, 32) and torch.isfinite(out).all() for out in outs)
    if choice != "center_crop":  # of an image that is already resized
        assert any(not torch.equal(out, plain) for out in outs)


def test_pipeline_errors() -> None:
    cfg = coop_cfg()
    with pytest.raises(ValueError, match="did you mean 'random_flip'?"):
        build_transform(cfg, choices=("random_flop",))
    cfg.INPUT.INTERPOLATION = "cubic"
    with pytest.raises(ValueError, match="did you mean 'bicubic'?"):
        build_transform(cfg)
    cfg.INPUT.NO_TRANSFORM = True
    assert build_transform(cfg) is None


def test_data_manager(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    cfg.DATASET.NUM_SHOTS = 4
    dm = DataManager(cfg)
    out = capsys.readouterr().out
    assert "Loading dataset: Squares\nCreating a 4-shot dataset\nBuilding transform_train\n" in out
    rows = [line.split() for line in out.splitlines()[-8:]]
    assert rows[1:-1] == [
        ["Dataset", "Squares"],
        ["#", "classes", "3"],
        ["#", "train_x", "12"],
        ["#", "train_u", "18"],
        ["#", "val", "6"],
        ["#", "test", "12"],
    ]
    assert (dm.num_classes, dm.num_source_domains) == (3, 0)
    assert dm.lab2cname == {0: "red", 1: "green", 2: "blue"}
    assert [len(x) for x in (dm.train_loader_x, dm.train_loader_u, dm.val_loader, dm.test_loader)] == [2, 3, 1, 1]
    batch = next(iter(dm.train_loader_x))
    assert batch["img"].shape == (5, 3, 8, 8)
    assert set(batch) == {"img", "label", "domain", "impath", "index"}


def test_wrapper_views(cfg, data_root: Path) -> None:
    source = DataManager(cfg).dataset.train_x
    cfg.DATALOADER.K_TRANSFORMS = 2
    cfg.DATALOADER.RETURN_IMG0 = True
    weak, strong = build_transform(cfg, choices=()), build_transform(cfg, choices=("random_crop",))
    item = DatasetWrapper(cfg, source, transform=[weak, strong], is_train=True)[7]
    assert (item["label"], item["index"], item["impath"]) == (1, 7, source[7].impath)
    assert len(item["img"]) == len(item["img2"]) == 2 and item["img0"].shape == (3, 8, 8)
    assert DatasetWrapper(cfg, source, transform=weak)[0]["img"].shape == (3, 8, 8)
    assert DatasetWrapper(cfg, source)[0]["img"].size == (12, 10)
    with pytest.raises(ValueError, match="K_TRANSFORMS"):
        DatasetWrapper(cfg, source, is_train=True)
