"""Few-shot splits as files: which images a run of so many shots and this seed trains on.

``split_fewshot/shot_{shots}-seed_{seed}.jsonl`` in the dataset's folder holds a header and then one line per image:
its path relative to that folder, its label, class name and part (train or val). The header says what the split
belongs to (dataset, shots, seed, the rule of the draw, SHA-256 of the split file or of the full lists, class names)
and carries a checksum over everything. CoOp keeps pickles of the same stem there, with absolute paths.

The draw is deterministic, so a file that a run wrote decides nothing: it records the draw, and is compared with it.
A file imported from CoOp's pickle does decide, since its purpose is to train on the images of an earlier run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .files import Item, Splits, read_text, write_atomically

FOLDER = "split_fewshot"
FORMAT = "few-shot split"
# To be raised when the same lists, shots and seed give another selection than before.
RULE = "coop-1"
DRAWN, IMPORTED = "draw", "coop-pickle"
IDENTITY = ("dataset", "shots", "seed")
RECORD = {"path": str, "label": int, "classname": str, "part": str}


class Damaged(ValueError):
    """A file that cannot be read as a few-shot split; ``source`` is what its header still tells of its origin."""

    def __init__(self, reason: str, source: Any = None) -> None:
        super().__init__(reason)
        self.source = source


@dataclass(frozen=True)
class Belonging:
    """What a few-shot split belongs to. ``images`` is the image root in the dataset's folder, or ``""``."""

    dataset: str
    shots: int
    seed: int
    split: str
    split_sha256: str
    classnames: tuple[str, ...]
    images: str = ""

    def header(self, source: str) -> dict[str, Any]:
        """Return the header of a split from the ``source`` draw or coop-pickle, without its checksum."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "shots": self.shots,
            "seed": self.seed,
            "rule": RULE,
            "source": source,
            "split": self.split,
            "split_sha256": self.split_sha256,
            "classnames": list(self.classnames),
        }

    def records(self, train: Sequence[Item], val: Sequence[Item]) -> list[dict[str, Any]]:
        """Return one JSON object per image."""
        return [
            {"path": self.path(item), "label": item.label, "classname": item.classname, "part": part}
            for part, items in (("train", train), ("val", val))
            for item in items
        ]

    def path(self, item: Item) -> str:
        """Return the path relative to the dataset's folder."""
        return f"{self.images}/{item.impath}" if self.images else item.impath


class Selection(NamedTuple):
    """A file's content: its header without the checksum, and its records."""

    header: dict[str, Any]
    records: list[dict[str, Any]]


def file_name(shots: int, seed: int) -> str:
    """Return CoOp's name with our suffix."""
    return f"shot_{shots}-seed_{seed}.jsonl"


def lists_digest(splits: Splits) -> str:
    """Return the SHA-256 over the lists that are drawn from: train, and val unless it is the test list."""
    drawn = splits[:1] if splits.val is splits.test else splits[:2]
    digest = hashlib.sha256()
    for items in drawn:
        digest.update(json.dumps(items, separators=(",", ":"), allow_nan=False).encode())
    return digest.hexdigest()


def choose(path: str, belonging: Belonging, full: Splits, drawn: Splits) -> Splits:
    """Choose the selection to train on: an imported file's, otherwise ``drawn``. Says which in one line.

    A missing file is written. One of ours that is stale or damaged is written anew, one of another dataset, shots or
    seed is left as it is; neither is used.

    Args:
        path: the file of these shots and this seed.
        belonging: what it must belong to.
        full: the lists that were drawn from.
        drawn: what the seed draws.

    Raises:
        ValueError: an imported file that does not fit or is damaged, or a file that cannot be told to be ours.
    """
    records = belonging.records(drawn.train, () if drawn.val is drawn.test else drawn.val)
    say = f"{belonging.dataset}: few-shot split ({belonging.shots} shots, seed {belonging.seed})"
    found = None
    try:
        found = read(path)
    except FileNotFoundError:
        pass  # written below
    except Damaged as error:
        if error.source != DRAWN:
            raise ValueError(
                f"{path} is no few-shot split or damaged ({error}): delete it to have the split drawn,"
                " or import CoOp's pickle again with python mmrl.py import-fewshot"
            ) from None
        _save(path, belonging, records, f"{say}: {path} is damaged ({error}), so drawn anew", "replaced")
        return drawn
    if found and found.header["source"] == IMPORTED:
        chosen = _imported(path, found, belonging, full)
        same = "the same images as" if found.records == records else "other images than"
        print(f"{say}: {path}, imported from CoOp: {same} the seed draws")
        return chosen
    pickle = f"{os.path.splitext(path)[0]}.pkl"
    if os.path.exists(pickle):
        print(f"note: {pickle} is CoOp's and not read: python mmrl.py import-fewshot imports it")
    _record_draw(path, belonging, records, found, say)
    return drawn


def _record_draw(
    path: str, belonging: Belonging, records: list[dict[str, Any]], found: Selection | None, say: str
) -> None:
    """See that the file holds the draw, as far as it is ours to write."""
    wanted = belonging.header(DRAWN)
    if found is None and belonging.seed < 0:
        print(f"{say}: drawn without a seed, so not saved")
    elif found is None:
        _save(path, belonging, records, f"{say}: drawn", f"saved as {path}")
    elif problem := difference(found.header, wanted, IDENTITY):
        print(f"{say}: drawn; {path} is not used and left as it is ({problem})")
    elif problem := difference(found.header, wanted) or ("it lists other images" if found.records != records else ""):
        _save(path, belonging, records, f"{say}: {path} is stale ({problem}), so drawn anew", "replaced")
    else:
        print(f"{say}: as in {path}")


def difference(found: dict[str, Any], wanted: dict[str, Any], keys: Sequence[str] = ()) -> str:
    """Say how one header differs from another in these keys (or all), ``""`` if it does not."""
    for key in keys or wanted:
        if found.get(key) != wanted[key]:
            long = key in ("classnames", "split_sha256")
            return f"its {key} is another" if long else f"its {key} is {found.get(key)!r}, not {wanted[key]!r}"
    return ""


def _imported(path: str, found: Selection, belonging: Belonging, full: Splits) -> Splits:
    """The imported file's lists, once all of it is found to fit."""
    problem = difference(found.header, belonging.header(IMPORTED))
    if problem:
        raise ValueError(
            f"{path} was imported from CoOp for other lists ({problem}): import it again, or delete it to have the"
            " split drawn"
        )
    known = {part: {belonging.path(item): item for item in getattr(full, part)} for part in ("train", "val")}
    lists: dict[str, list[Item]] = {"train": [], "val": []}
    for record in found.records:
        item = known[record["part"]].get(record["path"])
        if item is None or (item.label, item.classname) != (record["label"], record["classname"]):
            raise ValueError(f"{path}: {record['path']} is not in the {record['part']} list as it stands there")
        lists[record["part"]].append(item)
    val = full.val if full.val is full.test else lists["val"]
    return Splits(lists["train"], val, full.test)


def _save(path: str, belonging: Belonging, records: list[dict[str, Any]], done: str, saved: str) -> None:
    """Write the file and say so; without it a run goes on, since it draws the same each time."""
    try:
        write(path, belonging.header(DRAWN), records)
        print(f"{done} and {saved}")
    except OSError as error:
        print(f"{done}, but not saved ({error})")


def write(path: str, header: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Write a split file with its checksum, atomically; the folder is made."""
    body = "".join(f"{json.dumps(record, allow_nan=False)}\n" for record in records)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, f"{json.dumps({**header, 'sha256': _checksum(header, body)}, allow_nan=False)}\n{body}")


def read(path: str) -> Selection:
    """Read a split file.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is cut off, changed, or something else.
    """
    try:
        text = read_text(path)
    except ValueError:
        raise Damaged("it is not text", _source_at_least(path)) from None
    first, _, body = text.partition("\n")
    header = _object(first, "line 1")
    if header.get("format") != FORMAT or header.get("source") not in (DRAWN, IMPORTED):
        raise Damaged(f"line 1 is not the header of a {FORMAT}")
    source = header["source"]
    if header.pop("sha256", None) != _checksum(header, body):
        raise Damaged("its checksum does not fit", source)
    records = [_record(line, f"line {number}", source) for number, line in enumerate(body.splitlines(), start=2)]
    return Selection(header, records)


def _source_at_least(path: str) -> Any:
    """The header's ``source`` of a file that is not text further down."""
    with open(path, "rb") as file:
        first = file.readline()
    try:
        return _object(first.decode("ascii"), "line 1").get("source")
    except (UnicodeDecodeError, Damaged):
        return None


def _checksum(header: dict[str, Any], body: str) -> str:
    return hashlib.sha256(f"{json.dumps(header, sort_keys=True, allow_nan=False)}\n{body}".encode()).hexdigest()


def _record(line: str, place: str, source: str) -> dict[str, Any]:
    record = _object(line, place, source)
    right = record.keys() == RECORD.keys() and all(type(record[key]) is kind for key, kind in RECORD.items())
    if not right or record["part"] not in ("train", "val"):
        raise Damaged(f"{place} is no record of an image", source)
    return record


def _object(line: str, place: str, source: Any = None) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise Damaged(f"{place} is not JSON", source) from None
    if not isinstance(found, dict):
        raise Damaged(f"{place} is no JSON object", source)
    return found
