"""Digits: what is written, and when."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import shutil
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

SPLIT_SHA256 = "538935455a054386dff81f6bec517116dc224089018869d9f1e83d01f437c148"


@pytest.fixture
def root(digits_root, build):
    build(digits_root, "Digits")  # so that its lists are saved
    return digits_root


@pytest.fixture
def written_once(digits_root, monkeypatch):
    """Images are links to those of `digits_root`: how they are made is tested without this."""
    link = functools.partial(shutil.copytree, digits_root / "digits/images", copy_function=os.link)
    monkeypatch.setattr("datasets.digits.write_images", link)


def snapshot(root):
    """What stands there, but for the few-shot splits that other tests drew."""
    files = [p for p in root.rglob("*") if p.is_file() and p.parent.name != "split_fewshot"]
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_images_are_scikit_learns(root, build):
    digits = load_digits()
    loader = build(root, "Digits")
    seen = set()
    for datum in [*loader.train_x, *loader.val, *loader.test]:
        position = int(Path(datum.impath).stem)
        with Image.open(datum.impath) as image:
            assert image.mode == "L"
            pixels = np.asarray(image)
        assert np.array_equal(pixels, (digits.images[position] * 255 / 16).round())
        assert datum.label == digits.target[position]
        seen.add(position)
    assert seen == set(range(1797))


def test_split_is_fixed_and_stratified(root, build):
    split = (root / "digits/split_zhou_Digits.json").read_bytes()
    assert hashlib.sha256(split).hexdigest() == SPLIT_SHA256
    loader = build(root, "Digits")
    for part, share in ((loader.train_x, 0.5), (loader.val, 0.2), (loader.test, 0.3)):
        counts = np.bincount([d.label for d in part])
        assert np.allclose(counts, share * np.bincount(load_digits().target), atol=1)


def test_second_root_holds_the_same_bytes_and_no_draws(root, build, tmp_path):
    state = random.getstate()
    build(tmp_path, "Digits", seed=3)
    assert random.getstate() == state
    assert snapshot(tmp_path) == snapshot(root)
    assert len(snapshot(root)) == 1797 + 2


def test_sixteen_shots_of_base(root, build):
    loader = build(root, "Digits", shots=16, subset="base")
    assert (len(loader.train_x), len(loader.val), len(loader.test)) == (80, 20, 271)
    assert loader.classnames == ["zero", "one", "two", "three", "four"]
    new = build(root, "Digits", shots=16, subset="new")
    assert new.classnames == ["five", "six", "seven", "eight", "nine"]
    assert len(new.test) == 269


def build_at_once(build, root, barrier, sizes):
    barrier.wait()
    loader = build(root, "Digits")
    sizes.put((len(loader.train_x), len(loader.val), len(loader.test)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_at_once(root, written_once, tmp_path, build):
    context = get_context("fork")
    barrier, sizes = context.Barrier(2), context.SimpleQueue()
    children = [context.Process(target=build_at_once, args=(build, tmp_path, barrier, sizes)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert sizes.get() == sizes.get() == (898, 359, 540)
    assert snapshot(tmp_path) == snapshot(root), "one complete folder, nothing left over"


def test_loser_of_the_race_leaves_nothing(root, written_once, tmp_path, monkeypatch, build):
    """The other process's folder appears between our look and our rename."""
    from datasets import digits

    write = digits.write_images

    def write_and_lose(folder):
        write(folder)
        build_elsewhere()

    def build_elsewhere():
        monkeypatch.setattr(digits, "write_images", write)
        build(tmp_path, "Digits")

    monkeypatch.setattr(digits, "write_images", write_and_lose)
    build(tmp_path, "Digits")
    assert snapshot(tmp_path) == snapshot(root)


def test_failed_write_leaves_nothing(tmp_path, monkeypatch, build):
    def fail(folder):
        Path(folder).mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.digits.write_images", fail)
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path, "Digits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["change", "remove", "manifest"])
def test_changed_folder_is_refused(damage, make_tree, tmp_path, build):
    make_tree("Digits", tmp_path)
    image = tmp_path / "digits/images/three/0003.png"
    (tmp_path / "digits/manifest.json" if damage == "manifest" else image).unlink()
    if damage == "change":
        image.touch()
    with pytest.raises(ValueError) as error:
        build(tmp_path, "Digits")
    assert str(error.value) == (
        f"Digits: {tmp_path}/digits/images does not agree with manifest.json: delete {tmp_path}/digits,"
        " it will be written again"
    )
