"""Reading and writing the files that datasets come with. Complaints name the file, and the line if any."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from common.files import replacing

from .folders import is_system_name


class Item(NamedTuple):
    """One image: path relative to the image root, label from 0, class name."""

    impath: str
    label: int
    classname: str


class Splits(NamedTuple):
    """The three lists of a dataset."""

    train: list[Item]
    val: list[Item]
    test: list[Item]


def class_folders(folder: str) -> list[str]:
    """Return the names of the sub-folders, hidden ones and the system's left out, sorted by code point.

    Raises FileNotFoundError: no such folder, or no sub-folders in it.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} not found: one folder of images per class is expected in it")
    names = sorted(subfolders(folder))
    if not names:
        raise FileNotFoundError(f"{folder} holds no class folders: sort its images into one folder per class")
    return names


def subfolders(path: str | os.PathLike[str]) -> set[str]:
    """Return the names of the folders in a folder, hidden ones and the system's left out; none without a folder."""
    if not os.path.isdir(path):
        return set()
    with os.scandir(path) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not is_system_name(entry.name)}


def class_files(folder: str) -> list[str]:
    """List a class folder without hidden and system files, sorted so that no draw depends on the file system.

    Raises FileNotFoundError: the folder is missing or empty.
    """
    names = sorted(name for name in folder_names(folder) if not is_system_name(name))
    if not names:
        raise FileNotFoundError(f"class folder {folder} holds no images: put them there or remove the folder")
    return names


def folder_names(folder: str) -> set[str]:
    """Return all names in a folder, empty if there is no such folder."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def read_text(path: str) -> str:
    """Read a UTF-8 text file, with or without its mark, as one string; ValueError if it is not one."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file: fetch it again") from None


def read_rows(path: str, form: str, read: Callable[[str], str] = read_text) -> Iterator[tuple[str, list[str]]]:
    """Read the lines of an annotation file, cut at white space into the fields that ``form`` names.

    Args:
        path: the file; blank lines are passed over.
        form: field names separated by spaces, for example ``"id class"``. The last field may contain spaces.
        read: what gives the file's text.

    Yields:
        the place (file and line number, for messages) and the fields.

    Raises:
        ValueError: a line with too few fields.
    """
    count = len(form.split())
    for number, line in enumerate(read(path).split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.strip().split(maxsplit=count - 1)
        if len(fields) < count:
            raise ValueError(f"{path}, line {number}: expected '{form}', got {line.strip()!r}")
        yield f"{path}, line {number}", fields


def label_from(text: str, place: str) -> int:
    """Return the label from 0 of a class number from 1; ValueError naming the place otherwise."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{place}: expected a class number from 1, got {text!r}")
    return int(text) - 1


def look_up(table: Mapping[str, Any], key: str, place: str) -> Any:
    """Return ``table[key]``, or raise ValueError naming the place."""
    if key not in table:
        raise ValueError(f"{place}: unknown class {key!r}")
    return table[key]


def read_mat(path: str, key: str) -> Any:
    """Read the variable ``key`` of a MATLAB file as a numpy array with its unit dimensions dropped.

    Raises ValueError: not a MATLAB file, or no such variable in it.
    """
    from zlib import error as zlib_error

    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        variables = loadmat(path, squeeze_me=True)
    except (ValueError, TypeError, NotImplementedError, OSError, MatReadError, zlib_error) as error:
        raise ValueError(f"{path} is not a readable MATLAB file ({error}): fetch it again") from error
    if key not in variables:
        raise ValueError(f"{path} has no variable {key!r}: fetch it again")
    return variables[key]


def read_json_object(path: str) -> dict[str, Any]:
    """Read a JSON file that holds one object; ValueError naming file and line otherwise."""
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}): fetch it again") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def read_split(path: str) -> Splits:
    """Read a split file: an object with lists ``train``, ``val``, ``test`` of ``[path, label, class name]``.

    Raises ValueError: another form; the message names the list and the position in it.
    """
    data = read_json_object(path)
    return Splits(*(_read_part(path, data, part) for part in Splits._fields))


def _read_part(path: str, data: dict[str, Any], part: str) -> list[Item]:
    rows = data.get(part)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list {part!r} in it")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or [type(field) for field in row] != [str, int, str] or row[1] < 0:
            raise ValueError(f"{path}, {part} item {number}: expected [path, label from 0, class name], got {row!r}")
    return [Item(*row) for row in rows]


def write_split(path: str, splits: Splits) -> None:
    """Save lists in the form (to the byte) of the published split files."""
    write_atomically(path, json.dumps(splits._asdict(), indent=4, separators=(",", ": "), allow_nan=False))


def write_atomically(path: str, text: str) -> None:
    """Write a text file; its name never stands for half of it, also when two processes write it at once."""
    with replacing(path, many_writers=True) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
