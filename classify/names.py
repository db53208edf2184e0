"""Lists of class names: where they come from, and when two lists mean the same classes. Nothing here needs torch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def places(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """For each of ``names`` its place in ``others``; None unless both lists hold the same classes, in any order."""
    left: dict[str, list[int]] = {}
    for place, other in enumerate(others):
        left.setdefault(_key(other), []).append(place)
    found = [left[_key(name)].pop(0) for name in names if left.get(_key(name))]
    return found if len(found) == len(names) == len(others) else None


def check(names: Sequence[str]) -> list[str]:
    """The names, stripped. Raises ValueError for no name at all, an empty one, or one that is given twice."""
    if isinstance(names, str):
        raise ValueError(f"classes must be a list of names, not the text {names!r}")
    stripped = [name.strip() for name in names]
    if not stripped:
        raise ValueError("no class names were given")
    if "" in stripped:
        raise ValueError(f"class name {stripped.index('') + 1} of {len(stripped)} is empty")
    keys = [_key(name) for name in stripped]
    for name, key in zip(stripped, keys, strict=True):
        if keys.count(key) > 1:
            raise ValueError(f"class name {name!r} is given twice")
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
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not a text file (UTF-8) with one class name a line") from None
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


def _key(name: str) -> str:
    """Names with equal keys make equal prompts: underscores are spaces, and the tokenizer sees no case."""
    return " ".join(name.replace("_", " ").lower().split())
