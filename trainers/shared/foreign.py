"""Trainers that are not of this project: somebody's TrainerX in a file that was put into this folder.

Such a file needs no row in ``METHODS``. It registers its class (``@TRAINER_REGISTRY.register()``) and, where it has
settings of its own, adds them in a function ``extend_cfg(cfg)``, as CoOp's ``train.py`` does.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1]


def find() -> dict[str, str]:
    """Return the modules of registered trainers in files that are not ours, by the trainer's name; no file is run.

    Raises ValueError naming a file that is not Python.
    """
    from .. import METHODS

    ours = {entry.module for entry in METHODS.values()}
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        place, text = f"trainers.{path.stem}", path.read_text(encoding="utf-8", errors="replace")
        if place in ours or "TRAINER_REGISTRY" not in text:
            continue
        try:
            body = ast.parse(text, path.name).body
        except (SyntaxError, ValueError) as problem:
            raise ValueError(f"{path} is not valid Python: {problem}") from problem
        for node in body:
            if isinstance(node, ast.ClassDef) and any(map(_registers, node.decorator_list)):
                found[node.name] = place
    return found


def module(name: str) -> Any:
    """Run the file that registers this trainer. Raises ValueError where it cannot be imported, KeyError without one."""
    place = find()[name]
    try:
        return import_module(place)
    except ImportError as problem:
        raise ValueError(f"{place.replace('.', '/')}.py, which has {name}, cannot be imported: {problem}") from problem


def _registers(decorator: ast.expr) -> bool:
    return "TRAINER_REGISTRY.register" in ast.unparse(decorator)
