"""Comparing a dataset on disk with what the table and its own lists say."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any

from .. import WRITTEN, load
from ..fgvc_aircraft import read_lists
from ..shared.files import Splits, read_split, subfolders
from ..shared.folders import is_system_name
from . import checks
from .sources import Entry, Table

NAMES_FILE = "classnames.txt"
IMAGENET = "imagenet"
SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do; ``place`` is what must be fetched for it, if that can help."""

    text: str
    advice: str
    place: str | None = None
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.text}: {self.advice}"


def verify(entry: Entry, root: Path, table: Table) -> list[Problem]:
    """List all that is missing, empty, too much or different in ``root``'s copy of a dataset."""
    return _Check(entry, root, table).run()


class _Check:
    def __init__(self, entry: Entry, root: Path, table: Table) -> None:
        self.entry, self.root, self.table = entry, root, table
        self.folder = root / entry.folder
        self.images = self.folder / entry.images
        self.again = f"run python mmrl.py prepare {entry.name} --root {root}"
        self.problems: list[Problem] = []

    def run(self) -> list[Problem]:
        missing = self.missing_parts()
        checks = {"ImageNet": self.imagenet, "FGVCAircraft": self.aircraft}
        checks |= {f"ImageNet{variant}": self.variant for variant in ("V2", "Sketch", "A", "R")}
        if self.entry.name in WRITTEN:
            self.written()
        elif not missing:
            checks.get(self.entry.name, self.split)()
        return self.problems

    def add(self, text: str, advice: str = "", place: str | None = None, harmless: bool = False) -> None:
        self.problems.append(Problem(text, advice or self.again, place, harmless))

    def missing_parts(self) -> bool:
        """Add what is missing; return whether something that every use needs is not there at all."""
        missing = [give for part in self.entry.parts if not part.spare for give in part.gives if not self.has(give)]
        for give in missing:
            without = " (a run would derive another, not comparable one)" if give == self.split_name else ""
            self.add(f"{give} is missing{without}", place=give)
        return any(give != self.split_name for give in missing)

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    @property
    def split_name(self) -> str:
        return self.entry.split.file if self.entry.split else ""

    def split(self) -> None:
        """Check a dataset with a split file, which alone decides if it is there."""
        if not self.has(self.split_name):
            spare = [give for part in self.entry.parts if part.spare for give in part.gives]
            for give in spare:
                if not self.has(give):
                    self.add(f"{give} is missing, and without {self.split_name} it is needed", place=give)
            return
        path = self.folder / self.split_name
        aside = f"move {path} away and {self.again}"
        assert self.entry.split is not None  # its name is not empty
        difference = checks.mismatch(path, self.entry.split)
        if difference:
            self.add(f"{self.split_name} is not the published one: it {difference}", aside)
        try:
            splits = read_split(str(path))
        except ValueError as error:
            self.add(str(error).rpartition(": ")[0], aside)
            return
        self.lists(splits, self.split_name, aside)
        self.listed(splits)

    def aircraft(self) -> None:
        """Check the official lists."""
        try:
            splits = read_lists(lambda name: str(self.folder / name))
        except ValueError as error:
            self.add(str(error), f"move the lists in {self.folder} away and {self.again}")
            return
        self.lists(splits, "images_variant_*.txt", f"move them away and {self.again}")
        self.listed(splits)

    def lists(self, splits: Splits, source: str, advice: str) -> None:
        """Check sizes, labels, names and overlaps."""
        for part, items, count in zip(Splits._fields, splits, self.entry.counts, strict=True):
            if len(items) != count:
                self.add(f"{source} lists {len(items)} {part} images instead of {count}", advice)
        names = {item.label: item.classname for item in splits.train}
        if sorted(names) != list(range(self.entry.classes)):
            self.add(f"{source} has labels that are not 0 to {self.entry.classes - 1}", advice)
        elif self.entry.names and names_digest(names[label] for label in sorted(names)) != self.entry.names:
            self.add(f"{source} has other class names than the published ones", advice)
        repeated = [path for path, n in Counter(item.impath for item in chain(*splits)).items() if n > 1]
        if repeated:
            self.add(f"{source} lists {some(repeated, 'image')} more than once", advice)

    def listed(self, splits: Splits) -> None:
        """Check that every listed image is there and not empty; tell what is beside them."""
        wanted = {item.impath for item in chain(*splits)}
        found = sizes(self.images, {path.rpartition("/")[0] for path in wanted})
        for state, paths in (
            ("missing", sorted(wanted - set(found))),
            ("empty", sorted(path for path in wanted & set(found) if not found[path])),
        ):
            groups: dict[str | None, list[str]] = {}
            for path in paths:
                full = f"{self.entry.images}/{path}" if self.entry.images else path
                groups.setdefault(self.entry.part_of(full), []).append(full)
            for place, members in groups.items():
                verb = "is" if len(members) == 1 else "are"
                self.add(f"of {len(wanted)} images, {some(members, 'image')} {verb} {state}", place=place)
        extra = sorted(path for path in set(found) - wanted if not any(fnmatch(path, p) for p in self.entry.unlisted))
        folders = {path.split("/")[0] for path in wanted if "/" in path}
        ignored = {pattern.split("/")[0] for pattern in self.entry.unlisted}
        if self.entry.images and folders and "*" not in ignored:
            extra += sorted(f"{name}/" for name in subfolders(self.images) - folders - ignored)
        if extra:
            self.add(
                f"{self.entry.images or self.entry.folder} holds {some(extra, 'entry')} in no list",
                "nobody reads them; remove them if you like",
                harmless=True,
            )

    def imagenet(self) -> None:
        """Check the class folders of both parts, images per class where it is known, and the names."""
        train, _, test = self.entry.counts
        self.class_folders("images/train", self.table.marked(), train)
        self.class_folders("images/val", self.table.marked(), test, self.entry.per_class)
        self.classnames(self.folder)

    def variant(self) -> None:
        """Check the folders of ImageNet's classes, of those of A or R, or of V2, which are named by label."""
        mark = {"ImageNetA": "A", "ImageNetR": "R"}.get(self.entry.name, "")
        labels = [str(label) for label in range(self.entry.classes)]
        names = labels if self.entry.name == "ImageNetV2" else self.table.marked(mark)
        self.class_folders(self.entry.images, names, self.entry.counts[2], self.entry.per_class)
        self.classnames(self.folder, self.root / IMAGENET)

    def class_folders(self, place: str, wanted: list[str], total: int, per_class: int = 0) -> None:
        path = self.folder / place
        outside = f"move what is too much out of {path}"
        names = subfolders(path)
        missing, extra = sorted(set(wanted) - names), sorted(names - set(wanted))
        if missing:
            self.add(f"{place} lacks {some(missing, 'class folder')}", place=place)
        if extra:
            self.add(f"{place} holds {some(extra, 'folder')} of no class", outside)
        found = sizes(path, set(wanted) & names)
        empty = sorted(name for name, size in found.items() if not size)
        if empty:
            self.add(f"{place} holds {some(empty, 'empty file')}", place=place)
        counts = Counter(name.split("/")[0] for name in found)
        if per_class:
            few = [f"{name} ({counts[name]})" for name in wanted if name in names and counts[name] < per_class]
            many = [f"{name} ({counts[name]})" for name in wanted if counts[name] > per_class]
            if few:
                self.add(f"{place} has fewer than {per_class} images in {some(few, 'class folder')}", place=place)
            if many:
                self.add(f"{place} has more than {per_class} images in {some(many, 'class folder')}", outside)
        elif len(found) > total:
            self.add(f"{place} holds {len(found)} images instead of {total}", outside)
        elif len(found) < total and not missing:
            self.add(f"{place} holds {len(found)} images instead of {total}", place=place)

    def classnames(self, *folders: Path) -> None:
        path = next((folder / NAMES_FILE for folder in folders if (folder / NAMES_FILE).is_file()), None)
        if path is None:
            self.add(f"{NAMES_FILE} is missing", place=NAMES_FILE)
        elif checks.mismatch(path, self.table.classnames):
            self.add(f"{path} is not the published one, names or order differ", f"move it away and {self.again}")

    def written(self) -> None:
        """Check the manifest that was written with the images."""
        loader = load(self.entry.name)
        problem = loader.problem(str(self.folder))
        if problem:
            self.add(f"{problem}{self.unlike_new(loader)}", f"move {self.folder} away and {self.again}")

    def unlike_new(self, loader: Any) -> str:
        """Say which images are missing or too much against those that would be written now; "" if none is."""
        with tempfile.TemporaryDirectory() as folder:
            loader.write_images(f"{folder}/{loader.images}")
            wanted = set(sizes(Path(folder, loader.images), loader.classes))
        found = set(sizes(self.images, loader.classes))
        pairs = ((wanted - found, "missing"), (found - wanted, "too much"))
        differs = [f"{some(sorted(names), 'image')} {what}" for names, what in pairs if names]
        return f" ({'; '.join(differs)})" if differs else ""


def names_digest(names: Iterable[str]) -> str:
    """Return the first 16 digits of the SHA-256 over class names as JSON, in the order of labels."""
    return hashlib.sha256(json.dumps(list(names), separators=(",", ":"), allow_nan=False).encode()).hexdigest()[:16]


def some(names: list[str], what: str) -> str:
    """Return ``2 images (a.jpg, b.jpg)``; of many names the first."""
    plural = what if len(names) == 1 else f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    rest = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {plural} ({', '.join(names[:SHOWN])}{rest})"


def sizes(root: Path, folders: Iterable[str]) -> dict[str, int]:
    """Return path in ``root`` -> bytes of the files directly in these folders, hidden ones left out."""
    found = {}
    for folder in folders:
        path = root / folder
        if not path.is_dir():
            continue
        with os.scandir(path) as entries:
            for entry in entries:
                if not is_system_name(entry.name) and entry.is_file():
                    found[f"{folder}/{entry.name}" if folder else entry.name] = entry.stat().st_size
    return found
