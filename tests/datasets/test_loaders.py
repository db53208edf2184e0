"""Every loader on a tiny dataset in its real layout."""

from __future__ import annotations

import json
import random
import shutil

import pytest

import datasets

PARTS = ("train_x", "val", "test")
LETTERS = [f"capital_{letter}" for letter in "abdeghjkmqrt"]

# name -> class names by label, sizes of train/val/test, one test item
EXPECTED = {
    "ImageNet": (
        ["tench", "goldfish", "missile", "missile"],
        (24, 20, 20),
        ["val/n04008634/image_0002.jpg", 3, "missile"],
    ),
    "Caltech101": (["face", "leopard", "accordion", "airplane"], (20, 8, 12), None),
    "OxfordPets": (
        ["abyssinian", "american_bulldog", "bombay"],
        (12, 3, 12),
        ["american_bulldog_102.jpg", 1, "american_bulldog"],
    ),
    "StanfordCars": (
        ["2000 AM General Hummer SUV", "2012 Audi TTS Coupe", "2012 Ram C/V Cargo Van Minivan"],
        (12, 3, 4),
        ["cars_test/00001.jpg", 2, "2012 Ram C/V Cargo Van Minivan"],
    ),
    "OxfordFlowers": (["pink primrose", "hard-leaved pocket orchid", "canterbury bells"], (17, 7, 10), None),
    "Food101": (["apple_pie", "beef_tartare"], (10, 4, 6), None),
    "FGVCAircraft": (["707-320", "F/A-18", "DHC-8 100"], (9, 9, 9), ["0006010.jpg", 1, "F/A-18"]),
    "SUN397": (
        ["abbey", "indoor apse", "barrel_storage wine_cellar"],
        (12, 3, 9),
        ["a/apse/indoor/sun_Testing0.jpg", 1, "indoor apse"],
    ),
    "DescribableTextures": (["banded", "blotchy", "braided", "bubbly"], (24, 8, 16), None),
    "EuroSAT": (["Annual Crop Land", "Forest", "Sea or Lake"], (15, 6, 9), None),
    "UCF101": (
        ["Apply_Eye_Makeup", "Handstand_Pushups", "Yo_Yo"],
        (12, 3, 9),
        ["Handstand_Pushups/v_HandStandPushups_g01_c01.jpg", 1, "Handstand_Pushups"],
    ),
    "ImageNetV2": ([f"class {i}" for i in range(12)], (24, 0, 24), ["10/image_0000.jpg", 10, "class 10"]),
    "ImageNetSketch": (
        ["tench", "goldfish", "missile", "missile"],
        (12, 0, 12),
        ["n02895154/image_0001.jpg", 2, "missile"],
    ),
    "ImageNetA": (["goldfish", "missile"], (6, 0, 6), ["n01443537/image_0000.jpg", 0, "goldfish"]),
    "ImageNetR": (["tench", "missile"], (6, 0, 6), ["n04008634/image_0000.jpg", 1, "missile"]),
    "Digits": (["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], (898, 359, 540), None),
    "DrawnLetters": (LETTERS, (384, 96, 600), ["capital_b/040.png", 1, "capital_b"]),
    "DrawnGreek": (
        [f"greek_{name}" for name in "alpha beta gamma delta theta lambda mu xi pi sigma phi omega".split()],
        (384, 96, 600),
        ["greek_omega/089.png", 11, "greek_omega"],
    ),
    "DrawnSymbols": (
        "anchor airplane umbrella cloud flag scales heart star music_note question_mark euro_sign percent_sign".split(),
        (384, 96, 600),
        ["music_note/040.png", 8, "music_note"],
    ),
    **{
        f"DrawnLetters{variant}": (LETTERS, (600, 0, 600), ["capital_t/049.png", 11, "capital_t"])
        for variant in ("V2", "Sketch", "A", "R")
    },
}
TEST_ONLY = ["ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"]
TEST_ONLY += ["DrawnLettersV2", "DrawnLettersSketch", "DrawnLettersA", "DrawnLettersR"]
SPLIT = sorted({*EXPECTED} - {*TEST_ONLY, "ImageNet", "FGVCAircraft"})


def test_all_loaders_are_covered():
    assert set(EXPECTED) == set(datasets.NAMES) - set(datasets.OWN)
    assert len(SPLIT) == 13


@pytest.mark.parametrize("name", EXPECTED)
def test_original_annotations(name, build, make_tree, rows, tmp_path):
    make_tree(name, tmp_path)
    state = random.getstate()
    loader = build(tmp_path, name)
    classnames, sizes, item = EXPECTED[name]
    assert random.getstate() == state, "reading or deriving lists must not move the run's generator"
    assert loader.classnames == classnames
    assert loader.num_classes == len(classnames)
    assert tuple(len(getattr(loader, part) or []) for part in PARTS) == sizes
    assert item is None or item in rows(loader, "test")
    assert {d.domain for d in loader.train_x} == {0}


@pytest.mark.parametrize("name", SPLIT)
def test_split_file_alone_decides(name, build, make_tree, rows, tmp_path, capsys):
    make_tree(name, tmp_path)
    derived = build(tmp_path, name)
    path = tmp_path / derived.folder / f"split_zhou_{name}.json"
    assert f"{name}: derived a split and saved it as {path}." in capsys.readouterr().out
    split = json.loads(path.read_text())
    assert [split[part] for part in ("train", "val", "test")] == [rows(derived, part) for part in PARTS]

    for annotation in derived.annotations:
        (tmp_path / derived.folder / annotation).unlink()
    path.write_text(json.dumps({part: items[::-1] for part, items in split.items()}))
    again = build(tmp_path, name)
    assert [rows(again, part) for part in PARTS] == [rows(derived, part)[::-1] for part in PARTS]
    assert "derived" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["OxfordPets", "DescribableTextures"])
def test_derived_split_is_the_same_for_every_seed(name, build, make_tree, rows, tmp_path):
    lists = []
    for seed in (1, 2):
        make_tree(name, tmp_path / str(seed))
        random.seed(seed)
        loader = build(tmp_path / str(seed), name, seed=seed)
        lists.append([rows(loader, part) for part in PARTS])
    assert lists[0] == lists[1]
    order = [path for path, _, _ in lists[0][0]]
    assert order != sorted(order)


def test_unwritable_folder_is_said(build, make_tree, tmp_path, capsys, monkeypatch):
    def refuse(path, splits):
        raise PermissionError(13, "Permission denied", path)

    make_tree("Food101", tmp_path)
    monkeypatch.setattr("datasets.shared.base.write_split", refuse)
    assert len(build(tmp_path, "Food101").train_x) == 10
    assert "Food101: derived a split that could not be saved ([Errno 13]" in capsys.readouterr().out


def test_flower_classes_come_in_order_of_first_appearance(build, make_tree, tmp_path):
    make_tree("OxfordFlowers", tmp_path)
    labels = [d.label for d in build(tmp_path, "OxfordFlowers").train_x]
    assert list(dict.fromkeys(labels)) == [2, 0, 1]


def test_cars_test_labels_may_lie_in_devkit(build, make_tree, tmp_path):
    make_tree("StanfordCars", tmp_path)
    cars = tmp_path / "stanford_cars"
    shutil.move(cars / "cars_test_annos_withlabels.mat", cars / "devkit")
    assert len(build(tmp_path, "StanfordCars").test) == 4


def test_imagenet_draws_train_only(build, make_tree, rows, tmp_path):
    make_tree("ImageNet", tmp_path)
    loader = build(tmp_path, "ImageNet", shots=1, subset="new")
    assert len(loader.train_x) == 2
    assert rows(loader, "val") == rows(loader, "test")
    assert [d.label for d in loader.test] == [0] * 5 + [1] * 5
    assert loader.classnames == ["missile", "missile"]


@pytest.mark.parametrize("name", TEST_ONLY)
def test_variants_ignore_shots_and_subset(name, build, make_tree, rows, tmp_path):
    make_tree(name, tmp_path)
    plain, cut = build(tmp_path, name), build(tmp_path, name, shots=1, subset="base")
    assert rows(plain, "test") == rows(cut, "test") == rows(cut, "train_x")
    assert not cut.val


@pytest.mark.parametrize(
    ("name", "folders", "complete"),
    [
        ("ImageNet", 4, 5),
        ("ImageNetV2", 12, 1000),
        ("ImageNetSketch", 4, 1000),
        ("ImageNetA", 2, 200),
        ("ImageNetR", 2, 200),
    ],
)
def test_incomplete_imagenet_is_said(name, folders, complete, build, make_tree, tmp_path, capsys):
    make_tree(name, tmp_path)
    if name == "ImageNet":
        with open(tmp_path / "imagenet/classnames.txt", "a") as file:
            file.write("n99999999 more\n")
    build(tmp_path, name)
    assert f"{name}: {folders} class folders instead of {complete}: not comparable" in capsys.readouterr().out


def test_name_rules():
    from datasets.stanford_cars import year_first
    from datasets.sun397 import scene_name
    from datasets.ucf101 import spaced

    assert year_first("Audi TTS Coupe 2012") == "2012 Audi TTS Coupe"
    scenes = {
        "a/abbey": "abbey",
        "a/apse/indoor": "indoor apse",
        "w/wine_cellar/barrel_storage": "barrel_storage wine_cellar",
        "a/atrium/public": "public atrium",
    }
    assert {folder: scene_name(folder) for folder in scenes} == scenes
    actions = ["ApplyEyeMakeup", "YoYo", "TaiChi", "Haircut", "Shotput", "Skijet", "HandstandPushups"]
    assert [spaced(action) for action in actions] == [
        "Apply_Eye_Makeup",
        "Yo_Yo",
        "Tai_Chi",
        "Haircut",
        "Shotput",
        "Skijet",
        "Handstand_Pushups",
    ]
