"""The published split files, class lists and few-shot selections."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path

import pytest

from datasets.shared.files import Item, read_split, write_split
from datasets.shared.splits import split_classes, split_trainval

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "fewshot_selection.json").read_text())
COUNTS = json.loads((DATA / "split_counts.json").read_text())
PARTS = ("train_x", "val", "test")
ROOTS = {"Caltech101": "caltech-101/101_ObjectCategories", "DescribableTextures": "dtd/images"}


def sha256(values):
    return hashlib.sha256(json.dumps(list(values), separators=(",", ":")).encode()).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory, touch):
    """Both datasets: the published split file, and an empty file for every image."""
    root = tmp_path_factory.mktemp("root")
    for name, images in ROOTS.items():
        text = gzip.decompress((DATA / f"split_zhou_{name}.json.gz").read_bytes())
        touch(root / images, [row[0] for part in json.loads(text).values() for row in part])
        (root / images).parent.joinpath(f"split_zhou_{name}.json").write_bytes(text)
    return root


def test_all_golden_cases_are_there():
    assert len(GOLDEN) == 36


@pytest.mark.parametrize("case", GOLDEN)
def test_fewshot_selection_is_the_official_one(case, build, rows, root):
    name, seed, shots, subset = case.split("/")
    random.seed(99)  # whatever the run drew before does not matter
    loader = build(root, name, int(shots[5:]), int(seed[4:]), subset)
    lists = [rows(loader, part) for part in PARTS]
    golden = GOLDEN[case]
    assert lists[0][: len(golden["first"])] == golden["first"]
    assert [len(part) for part in lists] == golden["n"]
    assert [sha256(part) for part in lists] == golden["sha256"]
    assert loader.num_classes == golden["classes"]
    assert sha256(loader.classnames) == golden["classnames_sha256"]


@pytest.mark.parametrize(
    ("name", "subset", "classes", "test"),
    [
        ("Caltech101", "base", 50, 1549),
        ("Caltech101", "new", 50, 916),
        ("DescribableTextures", "base", 24, 864),
        ("DescribableTextures", "new", 23, 828),
    ],
)
def test_base_and_new_sizes(name, subset, classes, test, build, root):
    loader = build(root, name, subset=subset)
    assert (loader.num_classes, len(loader.test)) == (classes, test)


@pytest.mark.parametrize(
    ("name", "sizes", "names_hash"),
    [
        ("Caltech101", (4128, 1649, 2465), "db43676ac8fef56a"),
        ("DescribableTextures", (2820, 1128, 1692), "830b9f149466303e"),
    ],
)
def test_derivation_on_the_real_tree(name, sizes, names_hash, build, rows, root, tmp_path):
    """Without the split file: the same sizes per class and the same names, but other images."""
    folder = ROOTS[name].split("/")[0]
    (tmp_path / folder).mkdir()
    (tmp_path / ROOTS[name]).symlink_to(root / ROOTS[name])
    derived, published = build(tmp_path, name), build(root, name)
    assert tuple(len(getattr(derived, part)) for part in PARTS) == sizes
    assert sha256(derived.classnames)[:16] == names_hash
    for part in PARTS:
        ours, theirs = rows(derived, part), rows(published, part)
        assert [row[1:] for row in ours] == [row[1:] for row in theirs]
        assert ours != theirs
    assert sorted(sum((rows(derived, p) for p in PARTS), [])) == sorted(sum((rows(published, p) for p in PARTS), []))


def class_items(label, count):
    return [Item(f"{label}/{i}.jpg", label, str(label)) for i in range(count)]


def per_class(splits, order):
    return [[sum(item.label == label for item in part) for part in splits] for label in order]


@pytest.mark.parametrize("name", ["Caltech101", "DescribableTextures", "EuroSAT", "OxfordFlowers"])
def test_folder_rule_gives_published_counts(name):
    groups = [class_items(label, sum(counts)) for label, counts in enumerate(COUNTS[name])]
    splits = split_classes(groups, random.Random(0))
    assert per_class(splits, range(len(groups))) == COUNTS[name]
    assert len(set(sum(splits, []))) == sum(map(sum, COUNTS[name]))


@pytest.mark.parametrize("name", ["OxfordPets", "StanfordCars", "UCF101"])
def test_trainval_rule_gives_published_counts(name):
    counts = [[train, val] for train, val, _ in COUNTS[name]]
    trainval = [item for label, pair in enumerate(counts) for item in class_items(label, sum(pair))]
    random.Random(1).shuffle(trainval)
    *splits, _ = split_trainval(trainval, (), random.Random(0))
    assert per_class(splits, range(len(counts))) == counts
    first_seen = list(dict.fromkeys(item.label for item in trainval))
    assert list(dict.fromkeys(item.label for item in splits[0])) == first_seen


@pytest.mark.parametrize("name", ROOTS)
def test_split_files_are_written_as_published(name, root, tmp_path):
    path = root / ROOTS[name].split("/")[0] / f"split_zhou_{name}.json"
    write_split(str(tmp_path / "copy.json"), read_split(str(path)))
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["copy.json"]


def imagenet_wnids(mark=""):
    lines = (DATA / "imagenet_wnids.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if mark in line.split() or not mark]


def test_classnames_are_generated_as_published(build, touch, tmp_path, capsys):
    wnids = imagenet_wnids()
    for part in ("train", "val"):
        touch(tmp_path / "imagenet/images" / part, [f"{wnid}/{wnid}_1.JPEG" for wnid in wnids])
    loader = build(tmp_path, "ImageNet", shots=16)
    text = (tmp_path / "imagenet/classnames.txt").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "89e0b642c6697a3a43a06a2bb65f9fefb3ca295ccc5f4ba9ce385f1a3a58c629"
    assert sha256(loader.classnames)[:16] == "02f159a1661b0cf5"
    assert [i for i, name in enumerate(loader.classnames) if name == "missile"] == [657, 744]
    assert f"ImageNet: wrote {tmp_path}/imagenet/classnames.txt" in capsys.readouterr().out

    for name, folder, mark, names_hash in (
        ("ImageNetA", "imagenet-adversarial/imagenet-a", "A", "17f1dde8499ff450"),
        ("ImageNetR", "imagenet-rendition/imagenet-r", "R", "36c4dbd94e26d5c5"),
    ):
        touch(tmp_path / folder, [f"{wnid}/image.jpg" for wnid in imagenet_wnids(mark)])
        assert sha256(build(tmp_path, name).classnames)[:16] == names_hash
    assert capsys.readouterr().out == "", "complete sets need no remark"
