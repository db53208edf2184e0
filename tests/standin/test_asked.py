"""What a run's code asks of Dassl, also in branches that no test on the stand-in takes."""

from __future__ import annotations

import ast
import re
from typing import Any

import trainers
from tests.standin import surface, workplace
from tests.standin.behaviour import config

ROOT = workplace.ROOT
NOT_OF_A_RUN = {"prepare", "grid"}  # folders
SOURCES = [
    ROOT / "train.py",
    *(path for name in ("trainers", "datasets", "runs") for path in sorted((ROOT / name).rglob("*.py"))),
]
SOURCES = [path for path in SOURCES if not NOT_OF_A_RUN & {*path.relative_to(ROOT).parts}]


def public_functions(tree: ast.Module) -> dict[str, str]:
    """Functions that a file imports from Dassl, with their public signatures."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in surface.SURFACE:
            for alias in node.names:
                entry, home = surface.SURFACE[node.module].get(alias.name, ""), node.module
                while surface.source(entry).startswith("dassl"):
                    home = surface.source(entry)
                    entry = surface.SURFACE[home][alias.name]
                if isinstance(entry, str) and entry.startswith("("):
                    found[alias.asname or alias.name] = entry
    return found


def test_every_argument_is_one_of_the_public_functions():
    asked = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        known = public_functions(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
                names = {word.arg for word in node.keywords if word.arg}
                parameters = set(re.findall(r"[(,] ?(\w+)", known[node.func.id]))
                assert names <= parameters, f"{path}:{node.lineno}"
                asked |= names
    assert {"sampler_type", "tfm", "is_train"} <= asked


def test_every_key_that_is_read_is_in_the_public_defaults_or_added():
    cfg = config.get_cfg_default()
    trainers.extend_cfg(cfg)
    read = set()
    for path in SOURCES:
        for key in re.findall(r"\bcfg((?:\.[A-Z][A-Za-z0-9_]+)+)\b", path.read_text(encoding="utf-8")):
            node: Any = cfg
            for part in key[1:].split("."):
                assert part in node, f"{path}: cfg{key}"
                node = node[part]
            read.add(key)
    for entry in trainers.METHODS.values():
        for key in entry.settings.defaults() if entry.node else ():  # what they ask for as settings
            assert key in cfg.TRAINER[entry.node], entry.settings.key(key)
            read.add(f".{entry.settings.key(key)}")
    assert len(read) > 50


def test_data_managers_are_asked_for_public_attributes_only():
    listed = surface.SURFACE["dassl.data.data_manager"]["DataManager"]
    public = {*listed["members"], *(name for name in listed["sets_on_self"] if not name.startswith("_"))}
    for path in SOURCES:
        assert set(re.findall(r"\.dm\.(\w+)", path.read_text(encoding="utf-8"))) <= public, path
