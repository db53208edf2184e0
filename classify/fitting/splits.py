"""Which images a model is trained on and which it is tested on, as tables for the loader `Table`."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common.files import write_text
from common.text import as_csv
from datasets.shared.files import Item

from .images import Images

VAL_SHARE = 0.1  # of a class's training images, for methods that choose settings on validation images
MAX_VAL_SHOTS = 4  # of them where training is few-shot, as CoOp has it


class Fold(NamedTuple):
    """One part of the images that a model trained on the others is tested on; numbers count from 1.

    `val` holds the validation images that the user names, if any.
    """

    number: int
    repeat: int
    train: list[Item]
    val: list[Item]
    test: list[Item]


def folds_of(images: Images, wanted: int) -> int:
    """Return how many folds there are: 1 where the user keeps a test part apart, at most the smallest class's size.

    Raises:
        ValueError: a class has one image only.
    """
    if len(images.given) > 1:
        return 1
    fewest = min(images.counts)
    if fewest < 2:
        name = images.classes[images.counts.index(fewest)]
        raise ValueError(
            f"class {name!r} has one image only: to measure a model at least 2 of each class are needed, one to train"
            " on and one to test on; add images, or take the class away"
        )
    return min(wanted, fewest)


def folds(images: Images, number: int, repeats: int) -> Iterator[Fold]:
    """Yield the folds of each repetition: stratified, every image in one of them; or the user's test part each time."""
    for repeat in range(1, repeats + 1):
        if number == 1:
            given = images.given
            test = given.get("test") or given["val"]
            val = given.get("val", []) if "test" in given else []
            yield Fold(1, repeat, given["train"], val, test)
            continue
        from sklearn.model_selection import StratifiedKFold

        items = images.all
        cut = StratifiedKFold(number, shuffle=True, random_state=repeat)
        parts = cut.split(items, [item.label for item in items])
        for count, (train, test) in enumerate(parts, start=1):
            yield Fold(count, repeat, [items[i] for i in train], [], [items[i] for i in test])


def training_part(
    train: Sequence[Item], val: Sequence[Item], shots: int | None, with_val: bool, seed: int
) -> tuple[list[Item], list[Item]]:
    """Return the images to train on, `shots` of each class (None: all), and those to choose settings on.

    The latter are `val`, or else VAL_SHARE of each class, at least one but for a class with one image; empty without
    `with_val`, when all of them are there to train on.
    """
    held_out = bool(with_val and not val)
    chosen: list[Item] = list(val) if with_val else []
    by_class: dict[int, list[Item]] = defaultdict(list)
    for item in [*train, *([] if with_val else val)]:
        by_class[item.label].append(item)
    kept = []
    for _, items in sorted(by_class.items()):
        random.Random(seed).shuffle(items)
        count = max(1, round(VAL_SHARE * len(items))) if held_out and len(items) > 1 else 0
        count = min(count, MAX_VAL_SHOTS) if shots else count
        chosen += items[:count]
        kept += items[count:][:shots]
    return kept, chosen


def write(path: Path, parts: dict[str, Iterable[Item]]) -> None:
    """Write a table of images by their part (train, val, test)."""
    rows = ([*item, part] for part, items in parts.items() for item in items)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, as_csv([["path", "label", "classname", "split"], *rows]))


def listed(path: Path) -> dict[str, str]:
    """Return the class name of each image in a table that `write` wrote, by path."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["classname"] for row in csv.DictReader(file)}
