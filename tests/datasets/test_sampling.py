"""Few-shot draw and base/new cut over random datasets."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.shared.base import SplitLoader
from datasets.shared.files import Item, Splits
from datasets.shared.splits import cut_classes


class Unread(SplitLoader):
    """A loader with nothing on disk."""

    def __init__(self):
        pass


@st.composite
def dataset(draw):
    """Train, val and test over up to 7 classes; labels in any order, val and test may lack classes."""
    count = draw(st.integers(1, 7))
    labels = st.lists(st.integers(0, count - 1), max_size=30)
    train = draw(st.permutations([*range(count), *draw(labels)]))
    parts = {"train": train, "val": draw(labels), "test": draw(labels)}
    return Splits(*([Item(f"{p}/{i}", y, f"c{y}") for i, y in enumerate(ys)] for p, ys in parts.items()))


@given(dataset(), st.integers(1, 20), st.integers(0, 2**32))
@settings(deadline=None)
def test_draw_follows_the_rule(splits, shots, seed):
    drawn = Unread().draw(splits, shots, seed)
    generator = random.Random(seed)
    for items, found, limit in ((splits.train, drawn.train, shots), (splits.val, drawn.val, min(shots, 4))):
        expected = []
        for label in dict.fromkeys(item.label for item in items):
            group = [item for item in items if item.label == label]
            expected += generator.sample(group, limit) if len(group) >= limit else group
        assert found == expected
    assert drawn.test is splits.test


@given(dataset(), st.integers(0, 99))
@settings(deadline=None)
def test_negative_seed_goes_on_with_the_generator(splits, seed):
    random.seed(seed)
    unseeded = Unread().draw(splits, 1, -1)
    assert unseeded == Unread().draw(splits, 1, seed)


@given(dataset())
@settings(deadline=None)
def test_cut_is_a_partition_with_fresh_labels(splits):
    count = len({item.label for item in splits.train})
    half = (count + 1) // 2
    assert cut_classes(splits, "all") == splits
    if count < 4:
        for subset in ("base", "new"):
            with pytest.raises(
                ValueError, match=f"needs four classes, two in each half, and the data set has {count}:"
            ):
                cut_classes(splits, subset)
        return
    base, new = cut_classes(splits, "base"), cut_classes(splits, "new")
    for part, first, second in zip(splits, base, new, strict=True):
        assert Counter(i.impath for i in first) + Counter(i.impath for i in second) == Counter(i.impath for i in part)
        for kept, offset in ((first, 0), (second, half)):
            kept_paths = {i.impath for i in kept}
            restored = [item._replace(label=item.label + offset) for item in kept]
            assert restored == [item for item in part if item.impath in kept_paths]
    assert {item.label for item in base.train} == set(range(half))
    assert {item.label for item in new.train} == set(range(count - half))


def test_short_classes_are_said_once(capsys):
    train = [Item(f"{i}", label, f"c{label}") for i, label in enumerate([0] * 5 + [1] * 3 + [2] * 2)]
    drawn = Unread().draw(Splits(train, train, train[:1]), 4, 1)
    assert Counter(item.label for item in drawn.train) == {0: 4, 1: 3, 2: 2}
    lines = [line for line in capsys.readouterr().out.splitlines() if "fewer" in line]
    assert lines == ["Unread: 2 of 3 classes have fewer than 4 images: all are taken"]
