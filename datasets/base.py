"""The base of all loaders: finding folders, checking lists, few-shot draw, base/new cut.

A loader says where its folder and its images are, and how its three lists are read, or derived when the
published split file is absent. Layout, splits and draws are those of CoOp (Zhou et al., 2022), so that
few-shot selections are the official ones; what differs is said at the place.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from dassl.data.datasets import DatasetBase, Datum

from .files import Item, Splits, class_files, class_folders, folder_names, read_split, write_split

TRAIN_SHARE, VAL_SHARE = 0.5, 0.2
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

    def __init__(self, cfg: Any) -> None:
        subset = cfg.DATASET.SUBSAMPLE_CLASSES
        if subset not in ("all", "base", "new"):
            raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {subset!r}: choose all, base or new")
        self.dataset_dir = os.path.join(find_root(cfg.DATASET.ROOT), self.folder)
        self.image_dir = os.path.join(self.dataset_dir, self.images) if self.images else self.dataset_dir
        self.prepare()
        splits = self.select(self.read(), cfg.DATASET.NUM_SHOTS, cfg.SEED, subset)
        train, val, test = (self._data(items) for items in splits)
        super().__init__(train_x=train, val=val, test=test)

    @property
    def name(self) -> str:
        """Registry name."""
        return type(self).__name__

    def prepare(self) -> None:
        """See that the images are there; FileNotFoundError naming the folder if not."""
        if not os.path.isdir(self.image_dir):
            raise FileNotFoundError(f"{self.name}: {self.image_dir} not found: put {self.contents} there")

    def annotation(self, *names: str) -> str:
        """Path of the first of these files that is in the dataset's folder; FileNotFoundError if none is."""
        paths = [os.path.join(self.dataset_dir, name) for name in names]
        for path in paths:
            if os.path.isfile(path):
                return path
        raise FileNotFoundError(f"{self.name}: {paths[0]} not found: {self.remedy}")

    @property
    def remedy(self) -> str:
        """What to do about a missing annotation file."""
        return "put it there from the dataset's archive"

    def read(self) -> Splits:
        """The full lists, checked."""
        raise NotImplementedError

    def select(self, splits: Splits, shots: int, seed: int, subset: str) -> Splits:
        """Few-shot draw (``shots`` < 1: none), then the base/new cut: base, new and all share one draw."""
        if shots >= 1:
            splits = self.draw(splits, shots, seed)
        return cut_classes(splits, subset)

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
        """The same lists, if their labels fit together and every image is there (each folder is listed once).

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
                f"{self.name}: {len(missing)} of {total} images are missing, first {first}: unpack them again"
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
    derived_note = " It is not the published one: do not compare results on it with published numbers."

    def prepare(self) -> None:
        if not os.path.isdir(self.image_dir):
            choices = [os.path.basename(self.split_path), ", ".join(self.annotations)]
            files = " or ".join(filter(None, choices))
            raise FileNotFoundError(
                f"{self.name}: {self.image_dir} not found: put {self.contents} there, and {files}"
                f" into {self.dataset_dir}"
            )

    @property
    def remedy(self) -> str:
        """What to do about a missing annotation file."""
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
            print(f"{self.name}: derived a split and saved it as {self.split_path}.{self.derived_note}")
        except OSError as error:
            print(f"{self.name}: derived a split that could not be saved ({error}).{self.derived_note}")
        return splits

    def derive(self, rng: random.Random) -> Splits:
        """Lists from the original annotations, drawing from ``rng`` only."""
        raise NotImplementedError


class FolderLoader(SplitLoader):
    """A split dataset whose annotations are its class folders."""

    contents = "its class folders"
    ignored: tuple[str, ...] = ()
    renamed: dict[str, str] = {}
    """Folder name -> class name, where they differ."""

    def class_folders(self) -> Sequence[str]:
        """Class folders; the position is the label."""
        return [name for name in class_folders(self.image_dir) if name not in self.ignored]

    def derive(self, rng: random.Random) -> Splits:
        groups = []
        for label, folder in enumerate(self.class_folders()):
            name = self.renamed.get(folder, folder)
            files = class_files(os.path.join(self.image_dir, folder))
            groups.append([Item(f"{folder}/{file}", label, name) for file in files])
        return split_classes(groups, rng)


def find_root(root: str) -> str:
    """Absolute path of the folder that holds the datasets.

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
        ValueError: ``new`` of a dataset with one class.
    """
    if subset == "all":
        return splits
    labels = sorted({item.label for item in splits.train})
    half = (len(labels) + 1) // 2
    kept = labels[:half] if subset == "base" else labels[half:]
    if not kept:
        raise ValueError("DATASET.SUBSAMPLE_CLASSES is 'new', but the dataset has one class only")
    new_label = {label: position for position, label in enumerate(kept)}
    return Splits(*([i._replace(label=new_label[i.label]) for i in items if i.label in new_label] for items in splits))
