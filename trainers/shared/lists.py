"""The images that a run trains on, selects on and tests on: what tells two such lists apart, and how they differ.

A list is told by each image's path relative to the data set's folder, label, class name and size in bytes, in order;
so the same images under another root are the same data. Nothing here needs torch or a certain loader: of a data set
``train_x``, ``val`` and ``test`` are read and, where there are, ``image_dir`` and ``all_classnames``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from common.files import write_bytes

FILE = "data.json.gz"
PARTS = ("train", "val", "test")
Facts = dict[str, Any]


class Entry(NamedTuple):
    """One image: path relative to the data set's folder, with slashes; label from 0; class name; bytes."""

    path: str
    label: int
    classname: str
    size: int


@dataclass(frozen=True)
class Lists:
    """What a run uses of a data set.

    Attributes:
        train, val, test: the images in order.
        all_classnames: of the whole data set, before it was cut to base or new classes, in the order of labels.
        root: the folder that paths are relative to; it tells nothing apart.
    """

    train: tuple[Entry, ...]
    val: tuple[Entry, ...]
    test: tuple[Entry, ...]
    all_classnames: tuple[str, ...]
    root: str = ""

    @cached_property
    def facts(self) -> Facts:
        """Return what records and checkpoints say of the lists: digests, counts, and class names by label.

        ``digest`` stands for everything, ``train``, ``val`` and ``test`` have one each, ``all_classes`` is that of
        ``all_classnames``.
        """
        parts = {part: _part(getattr(self, part)) for part in PARTS if getattr(self, part)}
        all_classes = _sha256([f"{name}\n" for name in self.all_classnames])
        whole = [f"{part} {facts['digest']}\n" for part, facts in parts.items()]
        names = {entry.label: entry.classname for part in PARTS for entry in getattr(self, part)}
        return {
            "digest": _sha256([*whole, all_classes]),
            **parts,
            "classnames": [names[label] for label in sorted(names)],
            "all_classes": all_classes,
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the lists into a run's folder, so that a later difference can be told image by image."""
        content = json.dumps(
            {name: getattr(self, name) for name in (*PARTS, "all_classnames", "root")}, allow_nan=False
        )
        write_bytes(Path(folder) / FILE, gzip.compress(content.encode(), compresslevel=3, mtime=0))


def lists_of(dataset: Any) -> Lists:
    """Return the lists of a data set as Dassl has it. Raises OSError naming an image that is gone."""
    root = _root(dataset)
    train, val, test = (_entries(getattr(dataset, part) or (), root) for part in ("train_x", "val", "test"))
    names = getattr(dataset, "all_classnames", None) or dataset.classnames
    return Lists(train, val, test, tuple(names), root)


def read(folder: str | os.PathLike[str], facts: Mapping[str, Any]) -> Lists | None:
    """Return the lists that `Lists.save` wrote, or None where they are gone, damaged, or not those of ``facts``."""
    try:
        content = json.loads(gzip.decompress((Path(folder) / FILE).read_bytes()))
        train, val, test = (tuple(Entry(*entry) for entry in content[part]) for part in PARTS)
        lists = Lists(train, val, test, tuple(content["all_classnames"]), content["root"])
        return lists if lists.facts["digest"] == facts.get("digest") else None
    except (OSError, EOFError, zlib.error, ValueError, TypeError, LookupError):
        return None


def difference(old: Lists | None, told: Mapping[str, Any], new: Lists) -> str:
    """Say in one line how lists have changed from ``old``, where still known, with facts ``told``; "" if not."""
    if told["digest"] == new.facts["digest"]:
        return ""
    classes = [text] if (text := class_difference(old, told, new)) else []
    said = classes + (_images(old, new) if old else _counts(told, new))
    return ", ".join(said) or "the same images in another order"


def class_difference(old: Lists | None, told: Mapping[str, Any], new: Lists) -> str:
    """Say how the classes of the whole data set have changed, as `difference` does, or return ""."""
    if told["all_classes"] == new.facts["all_classes"]:
        return ""
    names = new.all_classnames
    # Without the old lists only the classes that the run used are known.
    before = old.all_classnames if old else told["classnames"]
    added = [name for name in names if name not in before] if old else []
    gone = [name for name in before if name not in names]
    said = [f"{counted(len(some), 'class')} {what} ({first(some)})" for what, some in _named(added, gone)]
    return ", ".join(said) or (f"another order of the {counted(len(names), 'class')}" if old else "other classes")


def _part(entries: Sequence[Entry]) -> Facts:
    lines = (f"{path}\0{label}\0{name}\0{size}\n" for path, label, name, size in entries)
    return {"digest": _sha256(lines), "images": len(entries), "classes": len({entry.label for entry in entries})}


def _sha256(lines: Iterable[str]) -> str:
    # File systems differ in the form of accented letters; a name that is not UTF-8 keeps its bytes.
    text = unicodedata.normalize("NFC", "".join(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _root(dataset: Any) -> str:
    for name in ("image_dir", "dataset_dir"):
        folder = getattr(dataset, name, "")
        if isinstance(folder, str) and os.path.isdir(folder):
            return os.path.abspath(folder)
    return os.path.commonpath([os.path.dirname(os.path.abspath(item.impath)) for item in dataset.train_x])


def _entries(items: Iterable[Any], root: str) -> tuple[Entry, ...]:
    start = os.path.join(root, "")
    entries = []
    for item in items:
        path = item.impath
        inside = path[len(start) :] if path.startswith(start) else os.path.relpath(path, root)
        entries.append(Entry(inside.replace(os.sep, "/"), item.label, item.classname, os.path.getsize(path)))
    return tuple(entries)


def _images(old: Lists, new: Lists) -> list[str]:
    before, now = _by_path(old), _by_path(new)
    added = [path for path in now if path not in before]
    gone = [path for path in before if path not in now]
    kept = [(path, before[path], now[path]) for path in before if path in now]
    relabelled = [f"{path}: {a[1]} -> {b[1]}" for path, a, b in kept if a[1] != b[1]]
    moved = [f"{path}: {'/'.join(a[0])} -> {'/'.join(b[0])}" for path, a, b in kept if a[0] != b[0]]
    replaced = [path for path, a, b in kept if a[2] != b[2]]
    groups = (*_named(added, gone), ("relabelled", relabelled), ("moved", moved), ("of another size", replaced))
    return [f"{counted(len(some), 'image')} {what} ({first(some)})" for what, some in groups if some]


def _counts(told: Mapping[str, Any], new: Lists) -> list[str]:
    """Return what counts alone can say: the old lists are not known any more."""
    said = []
    for part in PARTS:
        then, now = ((facts.get(part) or {"digest": "", "images": 0}) for facts in (told, new.facts))
        if then["digest"] != now["digest"]:
            said.append(f"another {part} list (then {counted(then['images'], 'image')}, now {now['images']:,})")
    return said


def _by_path(lists: Lists) -> dict[str, tuple[tuple[str, ...], str, int]]:
    """Return by path the parts that an image is in, its class name, its size."""
    found: dict[str, tuple[tuple[str, ...], str, int]] = {}
    for part in PARTS:
        for entry in getattr(lists, part):
            earlier = found.get(entry.path, ((), "", 0))[0]
            found[entry.path] = ((*earlier, part), entry.classname, entry.size)
    return found


def _named(added: list[str], gone: list[str]) -> list[tuple[str, list[str]]]:
    return [(what, some) for what, some in (("added", added), ("gone", gone)) if some]


def counted(number: int, what: str) -> str:
    """Return such as ``1 image`` or ``1,200 classes``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}{'es' if what.endswith('s') else 's'}"


def first(names: Sequence[str]) -> str:
    """Return the first three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
