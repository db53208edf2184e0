"""The split of own data: an image more or less, or under another name, moves hardly any other."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.own.split import boundaries, split_by_path
from datasets.shared.files import Item

PARTS = ("train", "val", "test")
PINNED = [
    ["a/0.png", "a/2.png", "b/0.png", "b/3.png"],
    ["a/1.png", "b/4.png"],
    ["a/3.png", "a/4.png", "b/1.png", "b/2.png"],
]
NAMES = st.text("ab0é漢\udce9 -", min_size=1, max_size=6).map(lambda name: unicodedata.normalize("NFC", name))
CLASSES = st.dictionaries(NAMES, st.sets(NAMES, min_size=4, max_size=40), min_size=1, max_size=3)


def parts_of(classes: dict[str, set[str]]) -> dict[str, str]:
    """Path -> part."""
    groups = [
        [Item(f"{folder}/{name}", label, folder) for name in names]
        for label, (folder, names) in enumerate(classes.items())
    ]
    split = split_by_path(groups)
    return {item.impath: part for part, items in zip(PARTS, split, strict=True) for item in items}


def moved(before: dict[str, str], after: dict[str, str], folder: str) -> Counter:
    """How many images of both trees crossed which boundary; other classes than the folder's must not change."""
    crossed: Counter = Counter()
    for path in before.keys() & after.keys():
        sides = sorted(PARTS.index(tree[path]) for tree in (before, after))
        crossed.update(range(*sides))
        assert path.startswith(f"{folder}/") or sides[0] == sides[1]
    return crossed


@given(CLASSES, st.data())
@settings(deadline=None, max_examples=100)
def test_one_image_more_or_less_moves_at_most_one_at_each_boundary(classes, data):
    before = parts_of(classes)
    folder = data.draw(st.sampled_from(sorted(classes)))
    names = classes[folder]
    name = data.draw(NAMES)
    changed = {**classes, folder: names ^ {name}}
    if len(changed[folder]) < 4:
        return
    assert max(moved(before, parts_of(changed), folder).values(), default=0) <= 1
    # Another name: one image goes, one comes.
    renamed = {**classes, folder: (names - {sorted(names)[0]}) | {name}}
    if len(renamed[folder]) == len(names):
        assert max(moved(before, parts_of(renamed), folder).values(), default=0) <= 1


@given(CLASSES)
@settings(deadline=None, max_examples=30)
def test_neither_order_nor_unicode_form_matters(classes):
    before = parts_of(classes)
    other = {
        unicodedata.normalize("NFD", folder): {unicodedata.normalize("NFD", name) for name in names}
        for folder, names in reversed(classes.items())
    }
    assert {unicodedata.normalize("NFC", path): part for path, part in parts_of(other).items()} == before


def test_a_class_more_moves_nothing():
    classes = {name: {f"{i}.png" for i in range(17)} for name in "ab"}
    before = parts_of(classes)
    assert before.items() <= parts_of({"0": classes["a"], **classes}).items()


def test_the_shares():
    for count in range(4, 200):
        first, second = boundaries(count)
        assert 0 < first < second < count
        assert abs(first - 0.5 * count) <= 0.5 and abs(second - 0.7 * count) <= 0.5, count
        for now, then in zip((first, second), boundaries(count + 1), strict=True):
            assert then - now in (0, 1), count


def test_classes_with_the_same_file_names_are_split_apart():
    """Of 40 images half train: with equal names they agree by chance in half of the cases, not in all."""
    parts = parts_of({name: {f"{i}.png" for i in range(40)} for name in "ab"})
    same = sum((parts[f"a/{i}.png"] == "train") == (parts[f"b/{i}.png"] == "train") for i in range(40))
    assert 10 <= same <= 30


def test_root_and_loader_do_not_matter_and_the_split_is_pinned(build, rows, touch, tmp_path):
    """Whatever changes here redraws the split of everybody's own data."""
    lists = []
    for place in ("here", "there/deeper"):
        folder = tmp_path / place
        touch(folder, [f"{name}/{i}.png" for name in "ab" for i in range(5)])
        lines = [f"{name}{os.sep}{i}.png,{name}" for i in range(5) for name in "ba"]
        (folder / "t.csv").write_text("\n".join(["path,classname", *lines]))
        for keys in ({"name": "ImageFolder"}, {"name": "Table", "TABLE": "t.csv"}):
            loader = build("", FOLDER=folder, **keys)
            lists.append([sorted(rows(loader, part)) for part in ("train_x", "val", "test")])
    assert lists == [lists[0]] * 4
    assert [[path for path, _, _ in part] for part in lists[0]] == PINNED
