"""Making, checking and cutting lists of images. The rules are those of CoOp (Zhou et al., 2022)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable

from .files import Item, Splits

TRAIN_SHARE, VAL_SHARE = 0.5, 0.2


def group_by_label(items: Iterable[Item]) -> list[list[Item]]:
    """Return the items of each class, classes in order of first appearance."""
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    return list(groups.values())


def shuffled(items: list[Item], rng: random.Random) -> list[Item]:
    """Return a shuffled copy."""
    items = list(items)
    rng.shuffle(items)
    return items


def cut_each(
    groups: Iterable[list[Item]],
    order: Callable[[list[Item]], list[Item]],
    boundaries: Callable[[int], tuple[int, int]],
) -> Splits:
    """Cut each class in three: what is before its first boundary is train, before its second val, the rest test.

    ``order`` brings a class's images into the order that is cut, ``boundaries`` gives the two places for their number.
    Raises ValueError for a class too small to appear in all three.
    """
    splits = Splits([], [], [])
    for items in groups:
        first, second = boundaries(len(items))
        if not 0 < first < second < len(items):
            raise ValueError(
                f"class {items[0].classname!r} has {len(items)} images: train, val and test need at least 4"
            )
        items = order(items)
        for part, chosen in zip(splits, (items[:first], items[first:second], items[second:]), strict=True):
            part.extend(chosen)
    return splits


def split_classes(groups: Iterable[list[Item]], rng: random.Random) -> Splits:
    """Split as CoOp does by folders: of each shuffled class 50% train, 20% val (half to even), the rest test."""

    def boundaries(count: int) -> tuple[int, int]:
        train = round(count * TRAIN_SHARE)
        return train, train + round(count * VAL_SHARE)

    return cut_each(groups, lambda items: shuffled(items, rng), boundaries)


def split_trainval(trainval: Iterable[Item], test: Iterable[Item], rng: random.Random) -> Splits:
    """Split an official trainval list as CoOp does: of each shuffled class 20% validation, the rest train.

    Raises ValueError: a class too small to appear in both.
    """
    splits = Splits([], [], [])
    for items in group_by_label(trainval):
        n_val = round(len(items) * VAL_SHARE)
        if n_val < 1:
            raise ValueError(f"class {items[0].classname!r} has {len(items)} images: train and val need at least 3")
        items = shuffled(items, rng)
        splits.val.extend(items[:n_val])
        splits.train.extend(items[n_val:])
    return splits._replace(test=list(test))


def check_labels(splits: Splits, source: str) -> None:
    """See that train labels run from 0 without gaps, others are among them, and each label has one name.

    Raises ValueError: if not, or if train or test is empty.
    """
    names: dict[int, str] = {}
    for part, items in zip(Splits._fields, splits, strict=True):
        if not items and part != "val":
            raise ValueError(f"{source}: the {part} list is empty")
        for _, label, classname in items:
            name = names.setdefault(label, classname) if part == "train" else names.get(label)
            if name is None:
                raise ValueError(f"{source}: label {label} ({classname!r}) is in {part} but not in train")
            if name != classname:
                raise ValueError(f"{source}: label {label} is called both {name!r} and {classname!r}")
        if part == "train" and len(names) <= max(names):
            gap = next(label for label in range(len(names) + 1) if label not in names)
            raise ValueError(f"{source}: no train image has label {gap}, but labels run to {max(names)}")


def cut_classes(splits: Splits, subset: str) -> Splits:
    """Keep the first ceil(n/2) training labels (``base``), the rest (``new``) or all, relabelled from 0.

    Raises ValueError: a half has one class only, on which every method scores 100%.
    """
    if subset == "all":
        return splits
    labels = sorted({item.label for item in splits.train})
    half = (len(labels) + 1) // 2
    if len(labels) - half < 2:
        raise ValueError(
            f"base to new needs four classes, two in each half, and the data set has {len(labels)}: use all of its"
            " classes (scripts/fewshot/fewshot.sh, or TASK FS with DATASET.SUBSAMPLE_CLASSES all)"
        )
    kept = labels[:half] if subset == "base" else labels[half:]
    new_label = {label: position for position, label in enumerate(kept)}
    return Splits(*([i._replace(label=new_label[i.label]) for i in items if i.label in new_label] for items in splits))
