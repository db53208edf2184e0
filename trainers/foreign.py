"""Trainers that are not of this project: somebody's TrainerX in a file that was put into this folder.

Such a file needs no row in ``METHODS``. It registers its class (``@TRAINER_REGISTRY.register()``) and, where it has
settings of its own, adds them in a function ``extend_cfg(cfg)``, as CoOp's ``train.py`` does.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def find() -> dict[str, str]:
    """The modules of all registered trainers in this folder by the trainer's name; no file is run.

    Raises ValueError naming a file that is not Python.
    """
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        try:
            body = ast.parse(path.read_text(encoding="utf-8")).body
        except (SyntaxError, ValueError) as problem:
            raise ValueError(f"{path} is not valid Python: {problem}") from problem
        for node in body:
            if isinstance(node, ast.ClassDef) and any(map(_registers, node.decorator_list)):
                found[node.name] = f"{__package__}.{path.stem}"
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
