"""Whether what a checkpoint learned may be tested on these images: never on what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import lists
from .lists import Lists

DRAW = ("shots", "seed", "subset")
REMEDY = "put the data back as they were, train again in another folder, or test these as another data set (TASK CD)"


def facts_of(found: Lists, cfg: Any) -> dict[str, Any]:
    """Return what a checkpoint says of its data: digests, counts, and the draw that made the lists."""
    draw = dict(zip(DRAW, (cfg.DATASET.NUM_SHOTS, cfg.SEED, cfg.DATASET.SUBSAMPLE_CLASSES), strict=True))
    return {**{key: value for key, value in found.facts.items() if key != "classnames"}, **draw}


def check(path: Path, about: Mapping[str, Any], dataset: Any, now: Lists, cfg: Any) -> None:
    """Raise ValueError, naming the difference, where a test would not be the one that it says.

    Refused are a class that was trained on among new classes; other classes or other images than the checkpoint was
    trained on, in the same data set; and test images that were trained on. ``path`` is the checkpoint, in a folder of
    its run's, ``about`` what it says of itself, ``now`` the lists of the data set at hand.
    """
    told = about.get("data")  # older checkpoints do not say
    old = lists.read(path.parent.parent, told) if told else None
    if cfg.TASK == "CD":
        if old and old.root == now.root:
            _refuse_trained_images(path, old, now)
        return
    if told is None or told["all_classes"] != now.facts["all_classes"]:
        if told is not None:
            _refuse_other(path, lists.class_difference(old, {**told, "classnames": about["classnames"]}, now))
        if cfg.DATASET.SUBSAMPLE_CLASSES == "new":
            _refuse_trained_classes(path, about["classnames"], now)
    elif [told[key] for key in DRAW[:2]] != [cfg.DATASET.NUM_SHOTS, cfg.SEED]:
        if old:
            _refuse_trained_images(path, old, now)
    else:
        _refuse_other(path, lists.difference(old, told, _with_its_classes(dataset, now, told["subset"], cfg)))


def _with_its_classes(dataset: Any, now: Lists, subset: str, cfg: Any) -> Lists:
    """Return the lists of the same draw, cut to the classes that the checkpoint was trained on."""
    if subset == cfg.DATASET.SUBSAMPLE_CLASSES or not hasattr(dataset, "cut"):
        return now
    rest = {"all_classnames": now.all_classnames, "image_dir": now.root}
    return lists.lists_of(SimpleNamespace(**dataset.cut(subset), **rest))


def _refuse_trained_classes(path: Path, trained: list[str], now: Lists) -> None:
    again = [name for name in now.facts["classnames"] if name in trained]
    if again:
        classes = lists.counted(len(again), "class")
        raise ValueError(
            f"{path} was trained on {classes} that would be scored as new ({lists.first(again)}); {REMEDY}"
        )


def _refuse_trained_images(path: Path, old: Lists, now: Lists) -> None:
    trained = {entry.path for entry in old.train}
    again = [entry.path for entry in now.test if entry.path in trained]
    if again:
        images = lists.counted(len(again), "image")
        raise ValueError(f"{path} was trained on {images} that would be tested ({lists.first(again)}); {REMEDY}")


def _refuse_other(path: Path, difference: str) -> None:
    if difference:
        raise ValueError(f"{path} was trained on other data: {difference}; {REMEDY}")
