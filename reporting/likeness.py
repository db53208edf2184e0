"""Which results may be averaged or compared, by what their records say of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets

Record = Mapping[str, Any]
CAUTIONS = ("small_half", "small_test")  # kinds of notes in a record that say how little its number means
# Settings that say where own data are.
PLACE = ("DATASET.NAME", "DATASET.FOLDER", "DATASET.TABLE", "DATASET.CLASSNAMES")


def cautions(record: Record) -> list[str]:
    """Return the lines that a reader must know beside the number of a record."""
    notes = record.get("notes") or {}
    return [notes[kind] for kind in CAUTIONS if kind in notes]


def unlike_halves(base: Record, new: Record) -> str:
    """Return why two results are not of the two halves of one class list, or "".

    A record of an older run may name no classes: then nothing speaks against it.
    """
    ours, theirs, trained = _classes(base), _classes(new), _data(new).get("trained_on") or []
    for seen, where in ((ours, "of both halves"), (trained, "new, and its model was trained on it")):
        both = [name for name in theirs if name in set(seen)]
        if both:
            return f"{_names(both)} is {where}" if len(both) == 1 else f"classes are {where}: {_names(both)}"
    lists = {digest for digest in (_data(base).get("all_classes"), _data(new).get("all_classes")) if digest}
    cut_so = not ours or not theirs or len(ours) - len(theirs) in (0, 1)  # base is the first ceil(n/2) classes
    if len(lists) > 1 or not cut_so:
        differing = sorted({*trained} ^ {*ours}) if trained and ours else []
        more = f"; only one of base and the classes trained on has {_names(differing)}" if differing else ""
        return f"base ({_count(ours)}) and new ({_count(theirs)}) are halves of different class lists{more}"
    return ""


def unlike_tests(one: Record, other: Record) -> str:
    """Return why two tests of one part of a data set were not of the same images, or ""."""
    tests = [_data(record).get("test") or {} for record in (one, other)]
    if all(test.get("digest") for test in tests):
        sizes = " and ".join(str(test.get("images", "?")) for test in tests)
        return (
            "" if tests[0]["digest"] == tests[1]["digest"] else f"other images, labels or class names ({sizes} images)"
        )
    ours, theirs = (
        sorted((entry["class"], entry["total"]) for entry in r.get("per_class") or []) for r in (one, other)
    )
    if ours and theirs and ours != theirs:
        (name, count), *_ = [pair for pair in ours if pair not in theirs] or [("", 0)]
        return f"{count} images of {name!r} in one alone" if name else f"{len(ours)} and {len(theirs)} classes"
    configs = [record.get("config") or {} for record in (one, other)]
    if not all(configs) or {config.get("DATASET.NAME") for config in configs}.isdisjoint(datasets.OWN):
        return ""
    if any(test.get("digest") for test in tests):  # own data that nobody has split were once split by another rule
        return "one record is older and does not say which images"
    mine, yours = ({key: config.get(key) or "(none)" for key in PLACE} for config in configs)
    return "; ".join(f"{key}: {mine[key]} and {yours[key]}" for key in PLACE if mine[key] != yours[key])


def _data(record: Record) -> Record:
    return record.get("data") or {}


def _classes(record: Record) -> list[str]:
    """Return the names of the classes that were scored; none where an older record does not have them."""
    return _data(record).get("classnames") or [entry["class"] for entry in record.get("per_class") or []]


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} classes: {_names(names)}" if names else "classes not named"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
