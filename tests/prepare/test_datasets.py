"""Every dataset: fetched from archives in their real layout, checked, and loaded by its real loader."""

from __future__ import annotations

import functools
import os
import shutil

import pytest

import datasets
from datasets.prepare import sources

PARTS = ("train", "val", "test")
SPLIT = "Caltech101 OxfordPets StanfordCars OxfordFlowers Food101 SUN397 DescribableTextures EuroSAT UCF101".split()
OTHER = "FGVCAircraft ImageNetV2 ImageNetSketch ImageNetA ImageNetR".split()
ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")


def test_every_dataset_is_here():
    assert {*SPLIT, *OTHER, "ImageNet", *datasets.WRITTEN} == set(datasets.NAMES) - set(datasets.OWN)


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SPLIT)
def test_with_the_published_split(name, server, prepare, load, published, tmp_path):
    run = prepare(name, "--root", tmp_path)
    assert run.status == 0 and not run.errors
    folder = next(path for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert run.out[0] == f"{name}: complete in {folder}"
    lists = published(name)
    assert load(name, tmp_path) == [lists[part] for part in PARTS]

    asked = len(server.requests)
    assert asked > 1 and prepare(name, "--root", tmp_path).status == 0
    assert prepare(name, "--root", tmp_path, "--verify").out == [f"{name}: complete in {folder}"]
    assert len(server.requests) == asked


@pytest.mark.parametrize("name", SPLIT)
def test_without_the_split_the_annotations_come(name, server, prepare, load, published, tmp_path):
    split = f"split_zhou_{name}.json"
    drive = sources.load(server.table).datasets[name].split.urls[0]
    server.dead = [split, drive]
    run = prepare(name, "--root", tmp_path)
    missing = f"{name}: {split} is missing (a run would derive another, not comparable one): run python mmrl.py prepare"
    assert run.status == 1 and len(run.errors) == 1
    assert any(line.startswith(missing) for line in run.out)
    start, *urls = run.errors[0].split("; ")[:3]
    assert start.startswith(f"error: {name}: {split} cannot be had: {drive}: Drive does not")
    assert all("HTTP 404" in url and url.startswith(server.url) for url in urls)
    assert f"fetch {split} (" in run.errors[0] and run.errors[0].endswith(f"--archive PATH/{split}")
    assert not server.asked(sources.load(server.table).datasets[name].whole[0].file), "gigabytes for a list"
    assert load(name, tmp_path) == [published(name)[part] for part in PARTS]


@pytest.mark.parametrize("name", OTHER)
def test_without_a_split(name, server, prepare, load, tmp_path):
    run = prepare(name, "--root", tmp_path)
    assert run.status == 0 and not run.errors
    train, _, test = load(name, tmp_path)
    if name == "FGVCAircraft":
        assert [row[0] for row in test[:2]] == ["0006000.jpg", "0006010.jpg"] and len(test) == 9
    else:
        labels = [row[1] for row in test]
        assert train == test and sorted(set(labels)) == list(range(200 if name[-1] in "AR" else 1000))
    asked = len(server.requests)
    assert prepare(name, "--root", tmp_path).status == 0 and len(server.requests) == asked


def test_imagenet_takes_the_users_archives(server, prepare, load, tmp_path):
    root, own = tmp_path / "root", tmp_path / "own"
    run = prepare("ImageNet", "--root", root)
    assert run.status == 1 and len(run.errors) == 2
    assert "ILSVRC2012_img_train.tar is not free to download; fetch ILSVRC2012_img_train.tar (md5" in run.errors[0]
    assert "yourself (copies: https://image-net.org/download-images (with an account)) and run" in run.errors[0]
    assert run.errors[1].endswith(
        f"--root {root} --archive PATH/ILSVRC2012_img_val.tar PATH/ILSVRC2012_devkit_t12.tar.gz"
    )

    own.mkdir()
    for file in ARCHIVES:
        (own / file).write_bytes(server.files[f"ImageNet/{file}"])
    before = snapshot(own)
    run = prepare("ImageNet", "--root", root, "--archive", *(own / file for file in ARCHIVES))
    assert (run.status, run.out) == (0, [f"ImageNet: complete in {root}/imagenet"])
    assert snapshot(own) == before and not server.requests
    assert snapshot(root / "imagenet/images") == snapshot(server.trees / "ImageNet/imagenet/images")
    train, val, test = load("ImageNet", root)
    assert len(train) == len(test) == 1000 and val == test
    assert test[0] == ["val/n01440764/ILSVRC2012_val_00000996.JPEG", 0, "tench"]


def test_digits_are_written_here(server, prepare, load, digits_root, tmp_path, capsys, monkeypatch):
    """As they were written for all tests."""
    written = digits_root / "digits/images"
    link = functools.partial(shutil.copytree, written, copy_function=os.link)
    monkeypatch.setattr("datasets.digits.Digits.write_images", link)
    run = prepare("digits", "--root", tmp_path)
    assert (run.status, run.out[-1]) == (0, f"Digits: complete in {tmp_path}/digits")
    assert not server.requests and len(load("Digits", tmp_path)[2]) == 540
    capsys.readouterr()
    images = tmp_path / "digits/images"
    (images / "one/0001.png").rename(images / "two/new.png")
    start = f"Digits: {images} does not agree with manifest.json"
    aside = f"move {tmp_path}/digits away and run python mmrl.py prepare Digits --root {tmp_path}"
    differs = "1 image (one/0001.png) missing; 1 image (two/new.png) too much"
    assert prepare("Digits", "--root", tmp_path, "--verify").out == [f"{start} ({differs}): {aside}"]
    (images / "two/new.png").rename(images / "one/0001.png")
    (images / "one/0001.png").unlink()
    (images / "one/0001.png").touch()
    assert prepare("Digits", "--root", tmp_path).out == [f"{start}: {aside}"]


def test_drawn_data_are_drawn_here(server, prepare, load, tmp_path, monkeypatch):
    """Two pictures of a class: what is drawn is tested in tests/datasets."""
    monkeypatch.setattr(datasets.load("DrawnLettersV2"), "counts", (0, 0, 2))
    folder = tmp_path / "drawn_letters_v2"
    run = prepare("drawn_letters_v2", "--root", tmp_path)
    assert (run.status, run.out[-1]) == (0, f"DrawnLettersV2: complete in {folder}")
    assert not server.requests and len(load("DrawnLettersV2", tmp_path)[2]) == 24
    (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"version": 1', '"version": 0')
    )
    run = prepare("drawn_letters_v2", "--root", tmp_path)
    assert run.status == 1
    assert f"its pictures are of version 0, and this is version 1: move {folder} away and run" in run.out[-1]


def test_weights(server, prepare, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = prepare("clip:ViT-B/16", "--verify")
    path = tmp_path / ".cache/clip/ViT-B-16.pt"
    again = "run python mmrl.py prepare clip:ViT-B/16"
    assert (run.status, run.out) == (1, [f"clip:ViT-B/16: {path} is missing: {again}"])
    server.dead = ["/0/"]  # the first mirror
    assert prepare("clip:ViT-B/16").status == 0 and path.read_bytes() == server.files["clip/ViT-B-16.pt"]
    path.write_bytes(b"other")
    run = prepare("clip:ViT-B/16", "--verify")
    assert run.status == 1 and run.out[0].endswith(f": move it away and {again}")
    run = prepare("clip:ViT-B/16")
    assert run.status == 1 and path.read_bytes() == b"other"
    assert "it is damaged or another version; move it away and fetch it again" in run.errors[0]
