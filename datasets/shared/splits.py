"""Making, checking and cutting lists of images. The rules are those of CoOp (Zhou et al., 2022)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from .files import Item, Splits

TRAIN_SHARE, VAL_SHARE = 0.5, 0.2


def group_by_label(items: Iterable[Item]) -> list[list[Item]]:
    """Items of each class, classes in order of first appearance."""
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    return list(groups.values())


def shuffled(items: list[Item], rng: random.Random) -> list[Item]:
    """A shuffled copy."""
    items = list(items)
    rng.shuffle(items)
    return items


def split_classes(groups: Iterable[list[Item]], rng: random.Random) -> Splits:
    """CoOp's split by folders: of each shuffled class 50% train, 20% validation, the rest test.

    Shares are rounded half to even.

    Raises:
        ValueError: a class too small to appear in all three.
    """
    splits = Splits([], [], [])
    for items in groups:
        n_train, n_val = round(len(items) * TRAIN_SHARE), round(len(items) * VAL_SHARE)
        if not 0 < n_val < len(items) - n_train:
            raise ValueError(
                f"class {items[0].classname!r} has {len(items)} images: train, val and test need at least 4"
            )
        items = shuffled(items, rng)
        splits.train.extend(items[:n_train])
        splits.val.extend(items[n_train : n_train + n_val])
        splits.test.extend(items[n_train + n_val :])
    return splits


def split_trainval(trainval: Iterable[Item], rng: random.Random) -> tuple[list[Item], list[Item]]:
    """CoOp's split of an official trainval list: of each shuffled class 20% validation, the rest train.

    Raises:
        ValueError: a class too small to appear in both.
    """
    train: list[Item] = []
    val: list[Item] = []
    for items in group_by_label(trainval):
        n_val = round(len(items) * VAL_SHARE)
        if n_val < 1:
            raise ValueError(f"class {items[0].classname!r} has {len(items)} images: train and val need at least 3")
        items = shuffled(items, rng)
        val.extend(items[:n_val])
        train.extend(items[n_val:])
    return train, val


def check_labels(splits: Splits, source: str) -> None:
    """See that train labels run from 0 without gaps, others are among them, and each label has one name.

    Raises:
        ValueError: if not, or if train or test is empty.
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

    Raises:
        ValueError: a half has one class only, on which every method scores 100%.
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
