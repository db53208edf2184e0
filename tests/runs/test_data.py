"""A run knows its data: every change of a data tree is the same data or refused, and no test image was trained on."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dassl.config import get_cfg_default
from datasets.own.imagefolder import ImageFolder
from runs import data, record
from trainers import extend_cfg
from trainers.shared import lists, tested_lists

CLASSES = ("apple", "bread", "cheese", "date", "egg", "fig")
COUNT = 8


def plant(root: Path) -> Path:
    """A root with the folder ``mine``: six classes of eight files."""
    for name in CLASSES:
        add_class(root / "mine", name)
    return root


def add_class(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    for number in range(COUNT):
        (folder / name / f"{number}.png").write_bytes(bytes(number + 1))


def settings_of(root: Path, subset: str = "all", shots: int = -1, seed: int = 1, task: str = "B2N"):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATASET.NAME, cfg.DATASET.FOLDER, cfg.DATASET.ROOT = "ImageFolder", "mine", str(root)
    cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS, cfg.SEED, cfg.TASK = subset, shots, seed, task
    return cfg


class Trained:
    """What a run on base classes leaves: its lists, its record, and what its checkpoint says."""

    def __init__(self, root: Path, folder: Path, **draw):
        folder.mkdir(parents=True)
        cfg = settings_of(root, "base", **draw)
        self.dataset = ImageFolder(cfg)
        self.lists = lists.lists_of(self.dataset)
        self.lists.save(folder)
        self.folder, self.record = folder, {"data": self.lists.facts}
        self.about = {"classnames": self.dataset.classnames, "data": tested_lists.facts_of(self.lists, cfg)}
        self.path = folder / "Model" / "model-1.safetensors"

    def test(self, cfg):
        """The lists of a test with this model; ValueError where it is refused."""
        dataset = ImageFolder(cfg)
        now = lists.lists_of(dataset)
        tested_lists.check(self.path, self.about, dataset, now, cfg)
        return now


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path / "data")


@pytest.fixture
def trained(root, tmp_path):
    return Trained(root, tmp_path / "run")


def test_the_same_images_under_another_root_are_the_same_data(root, trained, tmp_path):
    shutil.copytree(root, tmp_path / "elsewhere")
    assert data.DataCheck(settings_of(tmp_path / "elsewhere", "base"))(trained.folder, trained.record) == ""
    for subset in ("base", "new", "all"):
        assert trained.test(settings_of(tmp_path / "elsewhere", subset)).root == str(tmp_path / "elsewhere/mine")


def test_lists_are_read_back_and_damage_is_none(trained):
    told = trained.lists.facts
    assert lists.read(trained.folder, told) == trained.lists
    assert lists.read(trained.folder, {**told, "digest": "0"}) is None
    path = trained.folder / lists.FILE
    for content in (b"", path.read_bytes()[:-9], b"[]", b"\x00" * 40):
        path.write_bytes(content)
        assert lists.read(trained.folder, told) is None


def test_facts_are_digests_counts_and_names(trained):
    facts = trained.lists.facts
    assert facts["classnames"] == ["apple", "bread", "cheese"]
    assert [(facts[part]["images"], facts[part]["classes"]) for part in lists.PARTS] == [(12, 3), (6, 3), (6, 3)]
    assert {len(facts[key]) for key in ("digest", "all_classes")} == {64}


def first_of(trained, part="train"):
    return getattr(trained.lists, part)[0].path


CHANGES = {
    "remove": (lambda mine, path: (mine / path).unlink(), "1 image gone ({path})"),
    "replace": (lambda mine, path: (mine / path).write_bytes(b"other" * 9), "1 image of another size ({path})"),
    "relabel": (
        lambda mine, path: (mine / path).rename(mine / "bread/other.png"),
        "1 image added (bread/other.png), 1 image gone ({path})",
    ),
    "add a class": (lambda mine, path: add_class(mine, "garlic"), "1 class added (garlic)"),
    "remove a class": (lambda mine, path: shutil.rmtree(mine / "fig"), "1 class gone (fig)"),
    "rename a class": (
        lambda mine, path: (mine / "fig").rename(mine / "pea"),
        "1 class added (pea), 1 class gone (fig)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused_with_the_difference(change, root, trained):
    act, said = CHANGES[change]
    path = first_of(trained)
    act(root / "mine", path)
    cfg = settings_of(root, "base")
    with pytest.raises(record.DataDiffers) as caught:
        data.DataCheck(cfg)(trained.folder, trained.record)
    text = str(caught.value)
    assert text.startswith(f"{trained.folder} holds a run on other data: ") and said.format(path=path) in text
    assert text.endswith("; put the data back as they were, choose another output folder, or remove this one")
    for subset in ("base", "new"):
        with pytest.raises(ValueError, match="was trained on other data: .*; put the data back"):
            trained.test(settings_of(root, subset))


def test_the_difference_without_the_lists_is_told_by_counts(root, trained):
    (root / "mine" / first_of(trained)).unlink()
    (trained.folder / lists.FILE).unlink()
    with pytest.raises(record.DataDiffers, match=r"another (train|test|val) list \(then \d+ images, now \d+\)"):
        data.DataCheck(settings_of(root, "base"))(trained.folder, trained.record)


def test_two_folders_more_make_no_trained_class_new(root, trained):
    """The case: base of six classes, two folders added, so that the first half has one class more."""
    for name in ("aardvark", "beans"):
        add_class(root / "mine", name)
    with pytest.raises(ValueError) as caught:
        trained.test(settings_of(root, "new"))
    assert "2 classes added (aardvark, beans)" in str(caught.value)
    older = SimpleNamespace(**{**vars(trained), "about": {"classnames": trained.about["classnames"]}})
    with pytest.raises(ValueError, match=r"was trained on 1 class that would be scored as new \(cheese\)"):
        Trained.test(older, settings_of(root, "new"))


def test_another_draw_is_let_through_unless_it_tests_trained_images(root, trained):
    assert trained.test(settings_of(root, "new", shots=2, seed=7))
    path = trained.lists.train[0]
    test = trained.lists.test
    moved = lists.Lists(trained.lists.train, (), (*test, path), trained.lists.all_classnames, trained.lists.root)
    cfg = settings_of(root, "base", shots=2, seed=7)
    with pytest.raises(ValueError, match=rf"was trained on 1 image that would be tested \({path.path}\)"):
        tested_lists.check(trained.path, trained.about, trained.dataset, moved, cfg)


def test_a_cross_dataset_target_may_share_classes_but_no_image(root, trained, tmp_path):
    shutil.copytree(root, tmp_path / "elsewhere")
    assert trained.test(settings_of(tmp_path / "elsewhere", task="CD"))  # other images of these names
    shutil.copytree(root / "mine", root / "test/test")
    cfg = settings_of(root, task="CD")
    cfg.DATASET.FOLDER = "test"
    assert trained.test(cfg)
    everything = lists.Lists((), (), trained.lists.train, trained.lists.all_classnames, trained.lists.root)
    with pytest.raises(ValueError, match="was trained on 12 images that would be tested"):
        tested_lists.check(trained.path, trained.about, trained.dataset, everything, settings_of(root, task="CD"))


def test_older_records_and_missing_roots_are_said(root, trained):
    check = data.DataCheck(settings_of(root / "gone", "base"))
    assert "cannot be compared" in check(trained.folder, {}) and "is not there" in check(trained.folder, trained.record)


def test_data_that_cannot_be_read_any_more_differ(root, trained):
    shutil.rmtree(root / "mine")
    with pytest.raises(record.DataDiffers, match="is finished, and its data have changed since: ImageFolder"):
        data.DataCheck(settings_of(root, "base"))(trained.folder, trained.record)


OPERATIONS = ("add", "remove", "rename", "relabel", "replace", "add class", "remove class", "nothing")


def operate(mine: Path, name: str, rng: random.Random) -> None:
    """One change of a tree, of an image or class that `rng` draws."""
    folders = sorted(path for path in mine.iterdir() if path.is_dir() and path.name in CLASSES or path.name == "new")
    folder = rng.choice(folders)
    image = rng.choice(sorted(folder.iterdir()))
    if name == "add":
        (folder / f"added{rng.random()}.png").write_bytes(b"x")
    elif name == "remove":
        image.unlink()
    elif name == "rename":
        image.rename(image.with_name(f"renamed{rng.random()}.png"))
    elif name == "relabel":
        image.rename(rng.choice(folders) / f"moved{rng.random()}.png")
    elif name == "replace":
        image.write_bytes(bytes(50 + rng.randrange(50)))
    elif name == "add class" and not (mine / "new").exists():
        add_class(mine, "new")
    elif name == "remove class":
        shutil.rmtree(folder)


def tree_of(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): os.path.getsize(path) for path in folder.rglob("*.png")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(OPERATIONS), max_size=2), st.integers(0, 2**31), st.sampled_from([-1, 2]))
def test_any_change_is_the_same_data_or_refused(tmp_path, names, seed, shots):
    place = tmp_path / f"{seed}-{shots}-{'-'.join(names)}"
    if place.exists():
        return
    root, rng = plant(place / "data"), random.Random(seed)
    trained = Trained(root, place / "run", shots=shots)
    before = tree_of(root / "mine")
    for name in names:
        operate(root / "mine", name, rng)
    changed = tree_of(root / "mine") != before
    used = {entry.path for part in lists.PARTS for entry in getattr(trained.lists, part)}
    told = lists.read(trained.folder, trained.lists.facts)
    assert told == trained.lists
    try:
        now = lists.lists_of(ImageFolder(settings_of(root, "base", shots=shots)))
    except (ValueError, OSError):  # too small a class, or too few of them
        with pytest.raises(record.DataDiffers):
            data.DataCheck(settings_of(root, "base", shots=shots))(trained.folder, trained.record)
        return
    difference = lists.difference(told, trained.lists.facts, now)
    same = now == trained.lists
    assert (difference == "") is same
    if not changed:
        assert same
    if {path for path in before if path in used} - set(tree_of(root / "mine")):
        assert not same  # an image that was used is gone
    for subset in ("base", "new", "all"):
        for other in (seed % 7 + 2, 1):
            try:
                tested = trained.test(settings_of(root, subset, shots, other))
            except (ValueError, OSError):
                assert changed
                continue
            assert not {entry.path for entry in tested.test} & {entry.path for entry in trained.lists.train}
            if subset == "new":
                assert not set(tested.facts["classnames"]) & set(trained.about["classnames"])


def test_every_part_of_an_entry_counts():
    entry = lists.Entry("a/1.png", 0, "a", 5)
    changed = [entry._replace(path="a/2.png"), entry._replace(label=1), entry._replace(classname="b")]
    changed += [entry._replace(size=6)]
    digests = {lists.Lists((each,), (), (), ("a", "b")).facts["digest"] for each in (entry, *changed)}
    assert len(digests) == 5
    orders = [
        lists.Lists(pair, (), (), ("a", "b")).facts["digest"] for pair in ((entry, changed[0]), (changed[0], entry))
    ]
    assert orders[0] != orders[1]
    # An accented letter as one character or as two is one name; a name that is not UTF-8 is another.
    names = ("\u00e9.png", "e\u0301.png", "\udce9.png")
    one, two, bytes_ = (lists.Lists((entry._replace(path=name),), (), (), ("a",)).facts["digest"] for name in names)
    assert one == two != bytes_
