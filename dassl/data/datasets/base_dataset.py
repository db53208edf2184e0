"""What all datasets share: images with labels, class names, few-shot draws."""

from __future__ import annotations

import os
import random
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from dassl import utils
from dassl.lazy import names_from

__getattr__ = names_from(__name__, {"dassl.utils": "check_isfile"})


class Datum:
    """One image: its path, label, domain and class name. FileNotFoundError if the path is not a file."""

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
        if not isinstance(impath, str):
            raise TypeError(f"an image path must be a string, got {type(impath).__name__}")
        if not os.path.isfile(impath):
            raise FileNotFoundError(f"no image file at {impath}")
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    impath = property(attrgetter("_impath"), doc="Path of the image file.")
    label = property(attrgetter("_label"), doc="Class, counted from 0.")
    domain = property(attrgetter("_domain"), doc="Domain, counted from 0.")
    classname = property(attrgetter("_classname"), doc="Name of the class.")


class DatasetBase:
    """Lists of `Datum` for training (`train_x`, unlabelled `train_u`), validation and test.

    Class names and their number come from `train_x`. ValueError if its labels are not 0, 1, 2, ... gapless.
    """

    dataset_dir = ""
    domains: Sequence[str] = ()

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ) -> None:
        if not train_x:
            raise ValueError(f"dataset {type(self).__name__} has no training image")
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)
        missing = sorted(set(range(self._num_classes)) - self._lab2cname.keys())
        if missing:
            raise ValueError(f"dataset {type(self).__name__} has no training image for label(s) {missing}")

    train_x = property(attrgetter("_train_x"), doc="Labelled training images.")
    train_u = property(attrgetter("_train_u"), doc="Unlabelled training images.")
    val = property(attrgetter("_val"), doc="Validation images.")
    test = property(attrgetter("_test"), doc="Test images.")
    lab2cname = property(attrgetter("_lab2cname"), doc="Label -> class name.")
    classnames = property(attrgetter("_classnames"), doc="Class names in the order of their labels.")
    num_classes = property(attrgetter("_num_classes"), doc="Number of classes.")

    @staticmethod
    def get_num_classes(data_source: Sequence[Datum]) -> int:
        """Return the highest label + 1."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Sequence[Datum]) -> tuple[dict[int, str], list[str]]:
        """Return label -> class name, and the class names in the order of their labels."""
        found = {item.label: item.classname for item in data_source}
        mapping = {label: found[label] for label in sorted(found)}
        return mapping, list(mapping.values())

    def check_input_domains(self, source_domains: Sequence[str], target_domains: Sequence[str]) -> None:
        """Raise ValueError if a domain is not one of the dataset's."""
        self.is_input_domain_valid(source_domains)
        self.is_input_domain_valid(target_domains)

    def is_input_domain_valid(self, input_domains: Sequence[str]) -> None:
        """Raise ValueError if one of `input_domains` is not one of the dataset's."""
        for domain in input_domains:
            utils.check_availability(domain, self.domains)

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Download an archive (zip, tar, tar.gz) to `dst` and unpack it beside it."""
        folder = Path(dst).parent
        folder.mkdir(parents=True, exist_ok=True)
        if from_gdrive:
            import gdown

            gdown.download(url, dst, quiet=False)
        else:
            utils.download_url(url, dst)
        print("Extracting file ...")
        if zipfile.is_zipfile(dst):
            with zipfile.ZipFile(dst) as archive:
                archive.extractall(folder)
        elif tarfile.is_tarfile(dst):
            with tarfile.open(dst) as archive:
                archive.extractall(folder, filter="data")
        else:
            raise ValueError(f"{dst} is neither a zip nor a tar archive; delete it and download it again")
        print(f"File extracted to {folder}")

    def generate_fewshot_dataset(self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False) -> Any:
        """Draw `num_shots` images per class from each source.

        Draws come from Python's `random`, class by class in order of first appearance. A class with fewer
        images gives all of them, or is drawn with replacement if `repeat`. Returns one list for one source,
        else a list of lists; `num_shots < 1` returns the sources as they are.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        drawn = [self._draw(source, num_shots, repeat) for source in data_sources]
        return drawn[0] if len(drawn) == 1 else drawn

    def _draw(self, source: list[Datum], num_shots: int, repeat: bool) -> list[Datum]:
        chosen: list[Datum] = []
        for items in self.split_dataset_by_label(source).values():
            if len(items) >= num_shots:
                chosen.extend(random.sample(items, num_shots))
            elif repeat:
                chosen.extend(random.choices(items, k=num_shots))
            else:
                chosen.extend(items)
        return chosen

    def split_dataset_by_label(self, data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """Return label -> its images, labels in order of first appearance."""
        return _grouped(data_source, "label")

    def split_dataset_by_domain(self, data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """Return domain -> its images, domains in order of first appearance."""
        return _grouped(data_source, "domain")


def _grouped(items: Sequence[Datum], attribute: str) -> dict[int, list[Datum]]:
    groups: defaultdict[int, list[Datum]] = defaultdict(list)
    for item in items:
        groups[getattr(item, attribute)].append(item)
    return groups
