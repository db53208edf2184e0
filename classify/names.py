"""Lists of class names: where they come from, and when two lists mean the same classes. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.text import is_text, read_users_text
from datasets.own.class_names import name_key


def places(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """For each of ``names`` its place in ``others``; None unless both lists hold the same classes, in any order."""
    left: dict[str, list[int]] = {}
    for place, other in enumerate(others):
        left.setdefault(name_key(other), []).append(place)
    found = [left[name_key(name)].pop(0) for name in names if left.get(name_key(name))]
    return found if len(found) == len(names) == len(others) else None


def check(names: Sequence[str]) -> list[str]:
    """The names, stripped.

    Raises ValueError for no name at all, one that is empty or not UTF-8, or two that are one class.
    """
    if isinstance(names, str):
        raise ValueError(f"classes must be a list of names, not the text {names!r}")
    stripped = [name.strip() for name in names]
    if not stripped:
        raise ValueError("no class names were given")
    known: dict[str, str] = {}
    for number, name in enumerate(stripped, start=1):
        key = name_key(name)
        if not key:
            raise ValueError(f"class name {number} of {len(stripped)} is empty")
        if not is_text(name):
            raise ValueError(f"class name {name!r} is not UTF-8")
        if key in known:
            if name == known[key]:
                raise ValueError(f"class name {name!r} is given twice")
            raise ValueError(f"class names {known[key]!r} and {name!r} are one to CLIP: give one of them")
        known[key] = name
    return stripped


def from_options(text: str | None, file: str | None) -> list[str] | None:
    """The classes of ``--classes`` (separated by commas) or ``--classes-file`` (one a line); None without either.

    Raises FileNotFoundError or ValueError naming the file.
    """
    if text is not None:
        return check(text.split(","))
    if file is None:
        return None
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no file of class names {file}")
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
        lines = read_users_text(file).split("\n")
    try:
        return check([line for line in lines if line.strip()])
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def of_dataset(cfg: Any) -> list[str]:
    """The classes of a configuration's data set. Raises ValueError where it cannot be read."""
    import datasets
    from dassl.data.datasets import build_dataset

    datasets.load_all()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return list(build_dataset(cfg).classnames)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"this run's class names come from its data set, which cannot be read ({error}): give the classes"
        ) from error
