"""CoOp's few-shot pickles, read without executing anything that stands in them.

CoOp pickles ``{"train": [Datum, ...], "val": [Datum, ...]}`` (ImageNet: train only), with absolute image paths of
the machine it ran on. A pickle is a program; here it can build strings, numbers, plain containers and that one record.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from typing import Any, NamedTuple

from ..shared.fewshot import Belonging
from ..shared.files import Item, Splits

# Dassl's record class, where it is defined and where it is exported from.
RECORD_CLASSES = {("dassl.data.datasets.base_dataset", "Datum"), ("dassl.data.datasets", "Datum")}
FIELDS = {"_impath": str, "_label": int, "_domain": int, "_classname": str}
# What pickle says it may raise on damaged input, memory and recursion included.
BROKEN = (
    *(pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, KeyError, MemoryError, OverflowError),
    *(RecursionError, TypeError, ValueError),
)


class Refused(ValueError):
    """The pickle asks for something that is not Dassl's record."""


class Row(NamedTuple):
    """One image as CoOp wrote it: path on its machine, label, class name."""

    impath: str
    label: int
    classname: str


class _Record:
    """Stands for Dassl's Datum: holds its four fields and does nothing."""

    __slots__ = ("row",)

    def __setstate__(self, state: Any) -> None:
        wrong = not isinstance(state, dict) or state.keys() != FIELDS.keys()
        if wrong or any(type(state[key]) is not kind for key, kind in FIELDS.items()):
            raise ValueError("a record has other fields than Dassl's")
        self.row = Row(state["_impath"], state["_label"], state["_classname"])


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in RECORD_CLASSES:
            raise Refused(f"it asks for {module}.{name}")
        return _Record


def read_pickle(path: str) -> dict[str, list[Row]]:
    """Read the lists of a few-shot pickle of CoOp, in their order.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it asks for more than Dassl's records (nothing of it is executed), or holds something else.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file).load()
    except Refused as error:
        raise ValueError(f"{path} is refused: {error}, and only Dassl's Datum is admitted; nothing was run") from None
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a few-shot pickle of CoOp, or damaged ({reason})") from None
    if not isinstance(content, dict) or "train" not in content or not content.keys() <= {"train", "val"}:
        raise ValueError(f"{path} is not a few-shot pickle of CoOp: it must hold the lists 'train' and 'val'")
    for part, rows in content.items():
        if not isinstance(rows, list) or not all(type(row) is _Record and hasattr(row, "row") for row in rows):
            raise ValueError(f"{path} is not a few-shot pickle of CoOp: its {part!r} is not a list of Dassl's Datum")
    return {part: [row.row for row in rows] for part, rows in content.items()}


def to_records(path: str, lists: dict[str, list[Row]], belonging: Belonging, full: Splits) -> list[dict[str, Any]]:
    """Return the records of the images that CoOp's rows mean: those whose path ends in the same way.

    Args:
        path: the pickle, for messages.
        lists: what `read_pickle` gave.
        belonging: the dataset, shots and seed that the split is for.
        full: the dataset's lists; its val is its test if validation images are not drawn.

    Raises:
        ValueError: images that are in none of the lists, have another class there or come twice; a missing list;
            a number of images that these shots do not give. The first three images are named.
    """
    parts = ("train",) if full.val is full.test else ("train", "val")
    if set(lists) != set(parts):
        raise ValueError(
            f"{path} holds {' and '.join(lists)}; for {belonging.dataset} it must be {' and '.join(parts)}"
        )
    chosen: dict[str, list[Item]] = {"train": [], "val": []}
    for part in parts:
        known = {belonging.path(item): item for item in getattr(full, part)}
        found = [(row, _find(row.impath, known)) for row in lists[part]]
        _complain(path, [row.impath for row, item in found if item is None], f"not in the {part} list", belonging)
        items = [(row, item) for row, item in found if item is not None]
        others = [row.impath for row, item in items if (row.label, row.classname) != (item.label, item.classname)]
        _complain(path, others, "of another label or class name", belonging)
        chosen[part] = [item for _, item in items]
        twice = [item.impath for item, count in Counter(chosen[part]).items() if count > 1]
        _complain(path, twice, f"more than once in {part}", belonging)
    _check_shots(path, chosen["train"], full.train, belonging)
    return belonging.records(chosen["train"], chosen["val"])


def _find(impath: str, known: dict[str, Item]) -> Item | None:
    """The item whose path is the longest tail of an absolute path of any system."""
    names = re.split(r"[/\\]", impath) if "/" not in impath else impath.split("/")
    tails = ("/".join(names[start:]) for start in range(len(names)))
    return next((known[tail] for tail in tails if tail in known), None)


def _complain(path: str, images: list[str], what: str, belonging: Belonging) -> None:
    if images:
        more = f" and {len(images) - 3} more" if len(images) > 3 else ""
        are = "image is" if len(images) == 1 else "images are"
        raise ValueError(
            f"{path}: {len(images)} {are} {what} of {belonging.dataset} ({belonging.split}):"
            f" {', '.join(images[:3])}{more}; nothing is imported"
        )


def _check_shots(path: str, train: list[Item], full: list[Item], belonging: Belonging) -> None:
    counts = Counter(item.label for item in train)
    for label, available in Counter(item.label for item in full).items():
        wanted = min(belonging.shots, available)
        if counts[label] != wanted:
            name = belonging.classnames[label]
            raise ValueError(
                f"{path}: class {name!r} has {counts[label]} training images, {belonging.shots} shots are"
                f" {wanted}; nothing is imported"
            )
