"""Class descriptions from a file: several sentences about each class, written for its data set.

A ``.json`` file holds an object of lists by class name. A ``.py`` file, as MMA++'s repository has them
(``trainers/gpt3_prompts``), holds one such dict; it is read, not run. Case and underscores of names do not count.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.names import suggest
from common.text import read_users_text
from datasets import config_name


def file_of(cfg: Any, path: str) -> Path:
    """Return the file of a run's data set: ``path``, or in a folder of that name the one called as the data set.

    The name is that of the data set's configuration (``dtd.json``), ``imagenet`` for every variant of ImageNet.
    ``path`` is in DATASET.ROOT, or absolute.
    """
    place = Path(cfg.DATASET.ROOT).expanduser() / Path(path).expanduser()
    if place.suffix in (".json", ".py"):
        return place
    name = config_name(cfg.DATASET.NAME)
    python = place / f"{'imagenet' if 'imagenet' in name else name}.py"
    return python if python.is_file() else python.with_suffix(".json")


def described(path: Path, classnames: Sequence[str], key: str) -> list[list[str]]:
    """Return each class's texts, as many for each.

    Raises ValueError naming ``key`` where there is no such file, else the file: it is damaged or has another form, it
    lacks a class, or has more texts for one class than for another.
    """
    if not path.is_file():
        raise ValueError(f"{key}: there is no file of class descriptions {path}: make it, or name another")
    known = {_plain(name): texts for name, texts in _read(path).items()}
    found = []
    for name in classnames:
        if _plain(name) not in known:
            raise ValueError(f"{path} has no texts for the class {name!r}; {suggest(_plain(name), known)}")
        found.append(known[_plain(name)])
        if len(found[-1]) != len(found[0]):
            counts = f"{len(found[0])} texts for {classnames[0]!r} and {len(found[-1])} for {name!r}"
            raise ValueError(f"{path} has {counts}: give every class the same number")
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")


def _read(path: Path) -> dict[str, list[str]]:
    text = read_users_text(str(path))
    try:
        content = _dict_in(text) if path.suffix == ".py" else json.loads(text)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    for name, texts in content.items() if isinstance(content, dict) else [("", None)]:
        if not isinstance(name, str) or not (isinstance(texts, list) and texts and all(map(_is_text, texts))):
            raise ValueError(f'{path} must hold a list of texts for each class name, such as {{"dog": ["A pet."]}}')
    return content


def _dict_in(source: str) -> Any:
    """Return the dict that a Python file assigns to a name, from its literal alone."""
    found = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    if len(found) != 1:
        raise ValueError(f"it assigns {len(found)} values, not one dict of texts")
    return ast.literal_eval(found[0])


def _is_text(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())
