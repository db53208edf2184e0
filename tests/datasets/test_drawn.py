"""The drawn data sets: what is drawn, the same each time, and that the embedded CLIP knows something of it."""

from __future__ import annotations

import json
import random
import shutil
from functools import cache

import numpy as np
import pytest
import torch
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image

import clip
import datasets
from datasets.drawn import base as drawn
from datasets.drawn.drawing import Look, draw
from trainers.shared.templates import TEMPLATES, fill

DRAWN = [name for name in datasets.NAMES if name.startswith("Drawn")]
VARIANTS = [name for name in DRAWN if name.startswith("DrawnLetters") and name != "DrawnLetters"]
# What the numbers of docs/embedded-suite.md were drawn by.
DRAWN_BY = "Pillow 13.0.0, FreeType 2.14.3"


@pytest.fixture(scope="module")
def loaded(build, written_root):
    """``loaded(name)``: the loader of a drawn data set, to read only."""
    return cache(lambda name: build(written_root(name), name))


def pictures(data):
    """RGB ``[N, 32, 32, 3]`` of a list of a loader."""
    opened = [Image.open(datum.impath) for datum in data]
    assert {(image.mode, image.size) for image in opened} == {("RGB", (32, 32))}
    return np.stack([np.asarray(image) for image in opened])


def test_a_second_draw_is_the_same_and_moves_no_generator(build, written_root, tmp_path, monkeypatch):
    """Of each class's first ten pictures: what a picture is depends on no other."""
    first = written_root("DrawnGreek")
    states = random.getstate(), np.random.get_state()[1].tolist()
    build(first, "DrawnGreek")
    monkeypatch.setattr(datasets.load("DrawnGreek"), "counts", (5, 2, 3))
    loader = build(tmp_path, "DrawnGreek", seed=3)
    assert states == (random.getstate(), np.random.get_state()[1].tolist())
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")]
    assert len(files) == 120 and loader.num_classes == 12 and len([*first.rglob("*.png")]) == 1080
    assert all((first / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


@pytest.mark.parametrize("name", DRAWN)
def test_the_reference_pixels(name, build, written_root, capsys):
    """On other versions the pictures may differ, and the loader says so."""
    root = written_root(name)
    capsys.readouterr()
    loader = build(root, name)
    manifest = json.loads((root / loader.folder / "manifest.json").read_text())
    same = manifest["pixels"] == loader.pixels
    assert same or manifest["drawn_by"] != DRAWN_BY, "other pictures: raise VERSION, and measure the numbers anew"
    assert (f"note: {name}: drawn by {manifest['drawn_by']}, with other grey values" in capsys.readouterr().out) != same


def test_other_grey_values_are_said(build, written_root, capsys, monkeypatch):
    monkeypatch.setattr(datasets.load("DrawnLettersA"), "pixels", "other")
    build(written_root("DrawnLettersA"), "DrawnLettersA")
    assert "with other grey values than the project's numbers were measured on" in capsys.readouterr().out


def test_another_version_is_refused(build, written_root, monkeypatch):
    root = written_root("DrawnSymbols")
    monkeypatch.setattr(drawn, "VERSION", 2)
    with pytest.raises(ValueError) as error:
        build(root, "DrawnSymbols")
    assert str(error.value) == (
        "DrawnSymbols: its pictures are of version 1, and this is version 2: delete"
        f" {root}/drawn_symbols, it will be written again"
    )


@pytest.mark.parametrize("damage", ["change", "remove", "manifest"])
def test_a_changed_folder_is_refused(damage, build, make_tree, tmp_path):
    make_tree("DrawnLettersR", tmp_path)
    picture = tmp_path / "drawn_letters_r/images/capital_a/003.png"
    (tmp_path / "drawn_letters_r/manifest.json" if damage == "manifest" else picture).unlink()
    if damage == "change":
        shutil.copy(picture.with_name("004.png"), picture)
    with pytest.raises(ValueError) as error:
        build(tmp_path, "DrawnLettersR")
    assert str(error.value) == (
        f"DrawnLettersR: {tmp_path}/drawn_letters_r/images does not agree with manifest.json: delete"
        f" {tmp_path}/drawn_letters_r, it will be written again"
    )


@pytest.mark.parametrize("name", ["DrawnLetters", "DrawnGreek", "DrawnSymbols"])
def test_no_test_picture_is_trained_on_and_every_class_has_its_share(name, loaded):
    loader = loaded(name)
    seen = [picture.tobytes() for data in (loader.train_x, loader.val, loader.test) for picture in pictures(data)]
    assert len(set(seen)) == len(seen) == 1080
    for data, each in ((loader.train_x, 32), (loader.val, 8), (loader.test, 50)):
        assert np.bincount([datum.label for datum in data]).tolist() == [each] * 12


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_the_sources_classes_and_pictures_of_its_own(name, loaded):
    source, variant = loaded("DrawnLetters"), loaded(name)
    assert variant.classnames == source.classnames
    assert not np.array_equal(pictures(variant.test[:50]), pictures(source.train_x[:32] + source.test[:18]))
    if name in ("DrawnLettersV2", "DrawnLettersR"):
        fonts, others = ({char for chars in loader.glyphs.values() for char in chars} for loader in (source, variant))
        assert fonts.isdisjoint(others)


@pytest.mark.parametrize("name", DRAWN)
def test_every_font_has_its_characters(name):
    for chars in datasets.load(name).glyphs.values():
        for font, char in chars:
            assert ord(char) in FT2Font(f"{get_data_path()}/fonts/ttf/{font}.ttf").get_charmap(), (font, char)


def test_a_missing_font_is_named():
    with pytest.raises(FileNotFoundError, match=r"fonts/ttf/NoFont\.ttf not found: this matplotlib has other fonts"):
        draw(("NoFont", "a"), Look(), np.random.RandomState(1))


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"contrast": (0.1, 0.1)}, lambda plain, other: np.ptp(other) < 0.4 * np.ptp(plain)),
        ({"flat": 0.5}, lambda plain, other: height(other) < 0.7 * height(plain)),
        ({"coarse": (8,)}, lambda plain, other: np.abs(np.diff(other)).max() < 0.7 * np.abs(np.diff(plain)).max()),
        ({"noise": (0.3, 0.3)}, lambda plain, other: steps(other) > 1.5 * steps(plain)),
        ({"outline": True}, lambda plain, other: share(other) < 0.7 * share(plain)),
        ({"slant": 0.6}, lambda plain, other: lean(other) > lean(plain) + 0.2),
        ({"stroke": (5, 5)}, lambda plain, other: share(other) > 1.2 * share(plain)),
        ({"strokes": 9}, lambda plain, other: not np.array_equal(plain, other)),
    ],
)
def test_a_look_does_what_it_says(change, how):
    still = {"turn": 0, "shear": 0, "size": (0.9, 0.9), "shift": 0, "wobble": 0, "stroke": (0, 0), "blur": (0, 0)}
    still |= {"colour": 0, "shade": 0, "noise": (0, 0), "contrast": (1, 1)}
    plain, other = (grey(Look(**(still | look))) for look in ({}, change))
    assert how(plain, other)


def grey(look):
    """A white letter on black, 0..1."""
    picture = np.asarray(draw(("DejaVuSans-Bold", "T"), look, np.random.RandomState(5)))[..., 0] / 255
    return picture if picture[0].mean() < 0.5 else 1 - picture


def height(picture):
    return np.count_nonzero(picture.max(1) > 0.5)


def share(picture):
    return picture.mean()


def steps(picture):
    return np.abs(np.diff(picture, axis=1)).sum()


def lean(picture):
    """How far the upper half stands to the right of the lower one, in pixels per row of distance."""
    rows = np.arange(32)
    upper, lower = (picture[half].sum(0) @ rows / picture[half].sum() for half in (rows < 16, rows >= 16))
    return (upper - lower) / 16


# Zero-shot accuracy over all classes, as docs/embedded-suite.md has it.
ZERO_SHOT = {
    "DrawnLetters": 69.8,
    "DrawnGreek": 66.3,
    "DrawnSymbols": 68.2,
    "DrawnLettersV2": 62.7,
    "DrawnLettersSketch": 49.3,
    "DrawnLettersA": 43.2,
    "DrawnLettersR": 40.7,
}


@pytest.fixture(scope="module")
def model():
    return clip.load("embedded", device="cpu")[0].float().eval()


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_the_embedded_clip_knows_something_of_it_but_not_all(name, model, loaded):
    loader = loaded(name)
    mean, std = (torch.tensor(v) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))
    images = (torch.from_numpy(pictures(loader.test)) / 255 - mean) / std
    with torch.no_grad():
        features = torch.cat([model.encode_image(some) for some in images.permute(0, 3, 1, 2).split(100)])
        texts = model.encode_text(clip.tokenize(fill(TEMPLATES[name], loader.classnames)))
    chosen = (features @ torch.nn.functional.normalize(texts, dim=1).t()).argmax(1)
    right = chosen == torch.tensor([datum.label for datum in loader.test])
    # 2 points of room for other versions' grey values.
    assert 100 * right.float().mean().item() == pytest.approx(ZERO_SHOT[name], abs=2)


def test_every_drawn_set_is_here():
    assert list(ZERO_SHOT) == DRAWN and len(VARIANTS) == 4
