"""Read a configuration's YAML files. One may build on others: ``_BASE_: ../_base/vit_b16.yaml``, or a list of them."""

from __future__ import annotations

import copy
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from common.names import suggest

BASE = "_BASE_"


def with_bases(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (path, content) of a configuration file and of all files that it builds on, the weakest first.

    A base's path is relative to the file that names it. Of several bases a later one counts over those before it, and
    the file itself counts over all. A file without ``_BASE_`` comes alone.

    Raises:
        FileNotFoundError: a file is missing; the line names the file that builds on it.
        ValueError: a file is no YAML mapping, its ``_BASE_`` is no path, or it builds on itself.
    """
    return _with_bases(str(path), [])


def _with_bases(path: str, above: list[str]) -> list[tuple[str, dict[str, Any]]]:
    chain = [*above, path]
    if any(Path(path).resolve() == Path(other).resolve() for other in above):
        raise ValueError(f"{above[0]} builds on itself: {f' -> {BASE} '.join(chain)}; take one {BASE} out")
    try:
        content = read_yaml(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{above[-1]}: {BASE}: {error}" if above else str(error)) from error
    bases = content.pop(BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(base and isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: {BASE} must be the path of a file, or a list of paths, not {bases!r}")
    found = []
    for base in bases:
        found += _with_bases(os.path.join(os.path.dirname(path), base), chain)
    return [*found, (path, content)]


@lru_cache(maxsize=256)  # a grid reads a file once for each of its runs
def _parse(content: bytes) -> Any:
    try:  # with a mark UTF-16 is read too
        return yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.safe_load(content)  # its errors say more than libyaml's


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping as it stands. Raises FileNotFoundError or ValueError naming the file."""
    path = Path(path)
    if not path.is_file():
        if not path.parent.is_dir():
            raise FileNotFoundError(f"no configuration file {path}: there is no folder {path.parent}")
        beside = [file.name for file in path.parent.glob("*.yaml")]
        raise FileNotFoundError(f"no configuration file {path}; {suggest(path.name, beside)}")
    try:
        tree = copy.deepcopy(_parse(path.read_bytes()))
    except (yaml.YAMLError, ValueError, LookupError, TypeError) as error:  # a bad scalar raises what it likes
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold a mapping of configuration keys, not {type(tree).__name__}")
    return tree
