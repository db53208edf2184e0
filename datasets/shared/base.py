"""The base of all loaders: finding folders, checking lists, few-shot draw, what to say when something is missing.

A loader says where its folder and its images are, and how its three lists are read, or derived when the
published split file is absent. Layout, splits and draws are those of CoOp (Zhou et al., 2022), so that
few-shot selections are the official ones; what differs is said at the place.
"""

from __future__ import annotations

import os
import random
import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from common.files import sha256
from dassl.data.datasets import DatasetBase, Datum

from .. import config_name
from . import fewshot
from .files import Item, Splits, class_files, class_folders, folder_names, read_split, write_split
from .splits import check_labels, cut_classes, split_classes

MAX_VAL_SHOTS = 4
# CoOp derives with the run's generator, in the file system's order. A constant seed and sorted names give
# every run and every machine the same lists, also when several jobs derive them at once.
DERIVE_SEED = 1


class Loader(DatasetBase):
    """A dataset on disk, cut to the run's shots and classes.

    Args:
        cfg: reads ``DATASET.{ROOT, NUM_SHOTS, SUBSAMPLE_CLASSES}`` and ``SEED``.

    Raises:
        FileNotFoundError: root, folder, list file or images missing.
        ValueError: malformed lists or settings.
    """

    folder = ""
    """Folder of the dataset in the root."""
    images = ""
    """Image root inside that folder."""
    contents = "its images"
    """What belongs into the image root, for the message when it is missing."""
    has_halves = True
    """Whether it is cut into base and new classes, and shots are drawn: not where it is for testing only."""

    def __init__(self, cfg: Any) -> None:
        subset = cfg.DATASET.SUBSAMPLE_CLASSES
        if subset not in ("all", "base", "new"):
            raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {subset!r}: choose all, base or new")
        self.locate(cfg)
        self.prepare()
        full = self.read()
        self.all_classnames = classnames_of(full)
        self.uncut = self.select(full, cfg.DATASET.NUM_SHOTS, cfg.SEED)
        super().__init__(**self.cut(subset))

    def cut(self, subset: str) -> dict[str, list[Datum]]:
        """Return ``train_x``, ``val`` and ``test`` of these shots and this seed, cut to all, base or new classes.

        Raises ValueError: a half has fewer than two classes.
        """
        try:
            splits = cut_classes(self.uncut, subset) if self.has_halves else self.uncut
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        return dict(zip(("train_x", "val", "test"), map(self._data, splits), strict=True))

    @property
    def name(self) -> str:
        """Registry name."""
        return type(self).__name__

    @property
    def command(self) -> str:
        """What fetches the dataset."""
        return (
            f"python mmrl.py prepare {config_name(self.name)} --root {shlex.quote(os.path.dirname(self.dataset_dir))}"
        )

    def locate(self, cfg: Any) -> None:
        """Set ``dataset_dir`` and ``image_dir``; FileNotFoundError if there is no root."""
        self.dataset_dir = os.path.join(find_root(cfg.DATASET.ROOT), self.folder)
        self.image_dir = os.path.join(self.dataset_dir, self.images) if self.images else self.dataset_dir

    def prepare(self) -> None:
        """See that the images are there; FileNotFoundError naming the folder if not."""
        if not os.path.isdir(self.image_dir):
            raise FileNotFoundError(
                f"{self.name}: {self.image_dir} not found: run {self.command}, or put {self.contents} there"
            )

    def annotation(self, *names: str) -> str:
        """Return the path of the first of these files that the dataset's folder has; FileNotFoundError if none."""
        paths = [os.path.join(self.dataset_dir, name) for name in names]
        for path in paths:
            if os.path.isfile(path):
                return path
        raise FileNotFoundError(f"{self.name}: {paths[0]} not found: run {self.command}, or {self.remedy}")

    @property
    def remedy(self) -> str:
        """What else to do about a missing annotation file."""
        return "put it there from the dataset's archive"

    @property
    def repair(self) -> str:
        """What to do about missing images."""
        return f"run {self.command}, or unpack them again"

    def read(self) -> Splits:
        """Read the full lists, and check them."""
        raise NotImplementedError

    def select(self, splits: Splits, shots: int, seed: int) -> Splits:
        """Draw ``shots`` images per class (< 1, or for testing only: all), which base, new and all classes share.

        An imported file takes the draw's place; see `fewshot`.
        """
        if shots < 1 or not self.has_halves:
            return splits
        belongs = self.belonging(splits, shots, seed)
        return fewshot.choose(self.fewshot_path(shots, seed), belongs, splits, self.draw(splits, shots, seed))

    def fewshot_path(self, shots: int, seed: int) -> str:
        """Return where this few-shot split is saved, or was imported to: beside CoOp's pickle of it."""
        return os.path.join(self.dataset_dir, fewshot.FOLDER, fewshot.file_name(shots, seed))

    def belonging(self, splits: Splits, shots: int, seed: int) -> fewshot.Belonging:
        """Return what a few-shot split must have been drawn from to be one of these full lists."""
        source, digest = self.source_of(splits)
        return fewshot.Belonging(self.name, shots, seed, source, digest, self.all_classnames, self.images)

    def source_of(self, splits: Splits) -> tuple[str, str]:
        """Return name and SHA-256 of what decides the full lists, for a few-shot split's header."""
        return "lists", fewshot.lists_digest(splits)

    def draw(self, splits: Splits, shots: int, seed: int) -> Splits:
        """Draw ``shots`` training and at most 4 validation images per class; ``seed`` < 0: unseeded.

        A validation list that is the test list (ImageNet) stays whole.
        """
        counts = Counter(item.label for item in splits.train)
        short = sum(count < shots for count in counts.values())
        if short:
            print(f"{self.name}: {short} of {len(counts)} classes have fewer than {shots} images: all are taken")
        if seed >= 0:
            random.seed(seed)
        train = self._few(splits.train, shots)
        if splits.val is splits.test:
            return splits._replace(train=train)
        return Splits(train, self._few(splits.val, min(shots, MAX_VAL_SHOTS)), splits.test)

    def _few(self, items: Any, shots: int) -> list[Item]:
        # Dassl's draw asks items for their label only: no file need be looked at before.
        return self.generate_fewshot_dataset(items, num_shots=shots)

    def check(self, splits: Splits, source: str) -> Splits:
        """Return the lists, if their labels fit together and every image is there (each folder is listed once).

        Raises:
            ValueError: an empty list, a gap in the labels, or two names for a label, in ``source``.
            FileNotFoundError: missing images; the message names the first.
        """
        check_labels(splits, source)
        names: dict[str, set[str]] = {}
        missing = []
        for item in chain(*splits):
            folder, file = os.path.split(item.impath)
            if folder not in names:
                names[folder] = folder_names(os.path.join(self.image_dir, folder))
            if file not in names[folder]:
                missing.append(item.impath)
        if missing:
            total = sum(map(len, splits))
            first = os.path.join(self.image_dir, missing[0])
            raise FileNotFoundError(
                f"{self.name}: {len(missing)} of {total} images are missing, first {first}: {self.repair}"
            )
        return splits

    def _data(self, items: list[Item]) -> list[Datum]:
        return [
            Datum(impath=os.path.join(self.image_dir, path), label=label, domain=0, classname=classname)
            for path, label, classname in items
        ]


class SplitLoader(Loader):
    """A dataset with a split file ``split_zhou_{registry name}.json``.

    The file alone decides the lists. If it is absent they are derived and saved under its name.
    """

    annotations: tuple[str, ...] = ()
    """Files that the derivation reads, in the dataset's folder."""
    published = True
    """Whether others have a split file of it that results can be compared on."""

    def prepare(self) -> None:
        if not os.path.isdir(self.image_dir):
            choices = [os.path.basename(self.split_path), ", ".join(self.annotations)]
            files = " or ".join(filter(None, choices))
            raise FileNotFoundError(
                f"{self.name}: {self.image_dir} not found: run {self.command}, or put {self.contents} there,"
                f" and {files} into {self.dataset_dir}"
            )

    @property
    def remedy(self) -> str:
        return f"put it there, or the published {os.path.basename(self.split_path)} into {self.dataset_dir}"

    @property
    def split_path(self) -> str:
        """Where the split file is, or will be."""
        return os.path.join(self.dataset_dir, f"split_zhou_{self.name}.json")

    def read(self) -> Splits:
        if os.path.isfile(self.split_path):
            return self.check(read_split(self.split_path), self.split_path)
        splits = self.check(self.derive(random.Random(DERIVE_SEED)), self.dataset_dir)
        try:
            write_split(self.split_path, splits)
            print(f"{self.name}: derived a split and saved it as {self.split_path}.{self.comparison}")
        except OSError as error:
            print(f"{self.name}: derived a split that could not be saved ({error}).{self.comparison}")
        return splits

    @property
    def comparison(self) -> str:
        """What to know about a derived split."""
        if not self.published:
            return ""
        return (
            " It is not the published one: do not compare results on it with published numbers."
            f" To have that, move the file away if it was saved, and run {self.command}"
        )

    def source_of(self, splits: Splits) -> tuple[str, str]:
        if not os.path.isfile(self.split_path):
            return super().source_of(splits)
        return os.path.basename(self.split_path), sha256(self.split_path)

    def derive(self, rng: random.Random) -> Splits:
        """Make the lists from the original annotations, drawing from ``rng`` only."""
        raise NotImplementedError


class FolderLoader(SplitLoader):
    """A split dataset whose annotations are its class folders."""

    contents = "its class folders"
    ignored: tuple[str, ...] = ()
    renamed: dict[str, str] = {}
    """Folder name -> class name, where they differ."""

    def class_folders(self) -> Sequence[str]:
        """Return the class folders; the position is the label."""
        return [name for name in class_folders(self.image_dir) if name not in self.ignored]

    def derive(self, rng: random.Random) -> Splits:
        groups = []
        for label, folder in enumerate(self.class_folders()):
            name = self.renamed.get(folder, folder)
            files = class_files(os.path.join(self.image_dir, folder))
            groups.append([Item(f"{folder}/{file}", label, name) for file in files])
        return split_classes(groups, rng)


def classnames_of(splits: Splits) -> tuple[str, ...]:
    """Return the class names of the training list, in the order of their labels."""
    names = {item.label: item.classname for item in splits.train}
    return tuple(names[label] for label in sorted(names))


def find_root(root: str) -> str:
    """Return the absolute path of the folder that holds the datasets.

    Raises:
        ValueError: ``root`` is empty.
        FileNotFoundError: there is no such folder.
    """
    if not root:
        raise ValueError("DATASET.ROOT is empty: name the folder of the datasets with --root")
    path = os.path.abspath(os.path.expanduser(root))
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"dataset root {path} not found: create it, or name the folder of the datasets with --root"
        )
    return path
