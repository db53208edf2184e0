"""Suites: grids in a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from runs.grid.expand import Grid
from runs.protocols import check_name, method_names

LISTS = ("datasets", "methods", "shots", "seeds")
KEYS = ("protocol", *LISTS, "source", "cfg", "set", "options", "own")


def read_suite(path: Path, instead: Mapping[str, Any]) -> list[Grid]:
    """Read the grids of a suite; what `instead` has replaces each grid's own.

    Raises:
        FileNotFoundError, ValueError: no such file, or it is not a list of grids; names file, grid and key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no suite {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"{path} must hold a list of grids, each with protocol and datasets")
    grids = []
    for number, entry in enumerate(content, start=1):
        try:
            for key in entry:
                check_name("key", key, KEYS)
            grids.append(make_grid({**entry, **instead}))
        except ValueError as error:
            raise ValueError(f"{path}, grid {number}: {error}") from error
    return grids


def make_grid(entry: Mapping[str, Any]) -> Grid:
    """Make a checked grid from lists of names and numbers, as a suite or the command line has them.

    Raises:
        ValueError: a key is missing, or has a value of the wrong kind.
    """
    given: dict[str, Any] = dict(entry)
    for key in ("protocol", "datasets"):
        if key not in given:
            raise ValueError(f"{key} is missing")
    for key in LISTS:
        if key in given and not isinstance(given[key], list | tuple):
            raise ValueError(f"{key} must be a list, not {given[key]!r}")
    for key in ("shots", "seeds"):
        if key in given:
            given[key] = [_number(key, value) for value in given[key]]
    if given.get("methods") == ["all"]:
        given["methods"] = method_names(second_names=False)
    changes = _mapping("set", given.pop("set", {}))
    for key, values in changes.items():
        changes[key] = [str(value) for value in (values if isinstance(values, list | tuple) else [values])]
    options = _mapping("options", given.pop("options", {}))
    words = [word for key, value in options.items() for word in (key, str(value))]
    grid = Grid(changes=changes, options=words, **{**given, "own": _mapping("own", given.get("own", {}))})
    grid.check()
    return grid


def _mapping(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping, not {value!r}")
    return dict(value)


def _number(what: str, value: Any) -> int:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{what} must be whole numbers, not {value!r}")
