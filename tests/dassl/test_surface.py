"""Our Dassl has the public one's modules, names, signatures and members, but for the table in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dassl.config import get_cfg_default

TESTS = Path(__file__).parents[1]
SURFACE = json.loads((TESTS / "data/dassl_surface.json").read_text(encoding="utf-8"))
DEFAULTS = SURFACE.pop("config defaults")
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@cache
def left_out() -> dict[str, str]:
    """The patterns of what is left out, and why: the rows of the table in CONTRIBUTING.md."""
    text = (TESTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(r"^## What of the public Dassl is left out$(.*?)(^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`.*?) \| (.+) \|$", section.group(1), re.MULTILINE)
    return {pattern: reason for patterns, reason in rows for pattern in re.findall(r"`([^`]+)`", patterns)}


def is_left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in left_out())


def load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name and name.startswith(error.name)
        return None


def expected_signature(text: str) -> inspect.Signature:
    """The signature that a text such as ``(self, x, size=<class 'int'>)`` describes; `...` for what is no literal."""
    plain = re.sub(r"=<[^>]*>", "=...", text)
    arguments = ast.parse(f"def f{plain}: ...").body[0].args  # type: ignore[attr-defined]
    kind = inspect.Parameter
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    values = [inspect.Parameter.empty] * (len(names) - len(arguments.defaults))
    values += [ast.literal_eval(value) for value in arguments.defaults]
    rows = [kind(n, kind.POSITIONAL_OR_KEYWORD, default=v) for n, v in zip(names, values, strict=True)]
    if arguments.vararg:
        rows.append(kind(arguments.vararg.arg, kind.VAR_POSITIONAL))
    for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        rows.append(kind(name.arg, kind.KEYWORD_ONLY, default=ast.literal_eval(value) if value else kind.empty))
    if arguments.kwarg:
        rows.append(kind(arguments.kwarg.arg, kind.VAR_KEYWORD))
    return inspect.Signature(rows)


def same(ours: Any, public: Any) -> bool:
    if public is ... or isinstance(public, list | tuple):
        return public is ... or list(ours) == list(public)
    return ours == public


def misfit(obj: Any, text: str) -> str:
    """Why a call that fits the public signature may not fit ours; "" if it always does."""
    public, ours = (list(s.parameters.values()) for s in (expected_signature(text), inspect.signature(obj)))
    fixed = [p for p in public if p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD]
    for number, parameter in enumerate(fixed):
        mine = ours[number] if number < len(ours) else None
        if mine is None or mine.name != parameter.name:
            return f"argument {number} is not {parameter.name}"
        if parameter.default is not parameter.empty and not same(mine.default, parameter.default):
            return f"{parameter.name} is {mine.default!r} by default, not {parameter.default!r}"
    mine = {p.name: p for p in ours}
    for parameter in public[len(fixed) :]:
        if parameter.kind in VARIADIC and not any(p.kind == parameter.kind for p in ours):
            return f"takes no {parameter.name}"
        if parameter.kind not in VARIADIC and not same(mine[parameter.name].default, parameter.default):
            return f"{parameter.name} differs"
    known = {p.name for p in public}
    for parameter in ours:
        if parameter.name not in known and parameter.kind not in VARIADIC and parameter.default is parameter.empty:
            if parameter not in ours[: len(fixed)]:
                return f"{parameter.name} must be given"
    return ""


def set_on_self(cls: type) -> set[str]:
    """What a class has, and what its methods and those of its bases assign to ``self``."""
    return set(dir(cls)).union(*(set_by_class(base) for base in cls.__mro__ if base.__module__ != "builtins"))


@cache
def set_by_class(cls: type) -> set[str]:
    stored = (
        node
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls))))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    )
    annotated = set(vars(cls).get("__annotations__", {}))
    return annotated | {node.attr for node in stored if ast.unparse(node.value) == "self"}


@cache
def gaps(module: str) -> list[tuple[str, str]]:
    """(dotted name, what is wrong) for all of a module that we lack."""
    return list(each_gap(module))


def each_gap(module: str) -> Iterator[tuple[str, str]]:
    home = load(module)
    if home is None:
        yield module, "no such module"
        return
    for name, what in SURFACE[module].items():
        obj = getattr(home, name, None)
        if obj is None:
            source = what.removeprefix("from ") if isinstance(what, str) else ""
            if not (is_left_out(source) or is_left_out(f"{source}.{name}")):
                yield f"{module}.{name}", "missing"
        elif isinstance(what, dict):
            yield from class_gaps(f"{module}.{name}", obj, what)
        elif what.startswith("("):
            yield f"{module}.{name}", misfit(obj, what)
        elif not what.startswith("from "):
            yield f"{module}.{name}", "" if type(obj).__name__ == what else f"is no {what}"


def class_gaps(name: str, cls: type, what: dict[str, Any]) -> Iterator[tuple[str, str]]:
    has = set_on_self(cls) if what["sets_on_self"] else set()
    for member in what["sets_on_self"]:
        yield f"{name}.{member}", "" if member in has else "is not set on self"
    for member, kind in what["members"].items():
        if not hasattr(cls, member):
            yield f"{name}.{member}", "missing"
        elif kind == "property":
            yield f"{name}.{member}", "" if isinstance(getattr(cls, member), property) else "is no property"
        elif kind.startswith("("):
            yield f"{name}.{member}", misfit(getattr(cls, member), kind)


@pytest.mark.parametrize("module", SURFACE)
def test_what_the_public_dassl_has_is_here(module: str) -> None:
    wrong = {name: why for name, why in gaps(module) if why and not is_left_out(name)}
    assert not wrong


def test_what_is_left_out_is_missing_and_has_a_reason() -> None:
    wrong = [name for module in SURFACE for name, why in gaps(module) if why]
    stale = [pattern for pattern in left_out() if not any(fnmatch(name, pattern) for name in wrong)]
    assert not stale and len(left_out()) > 5


def test_all_public_settings_have_their_default() -> None:
    for key, expected in DEFAULTS.items():
        value = get_cfg_default()
        for part in key.split("."):
            value = value[part]
        assert same(value, expected), key


def test_a_gap_is_seen() -> None:
    def ours(x, size=2, *, more=1): ...

    assert misfit(ours, "(x, size=2)") == ""
    assert "by default" in misfit(ours, "(x, size=3)")
    assert "is not width" in misfit(ours, "(x, width=2)")
    assert "takes no kwargs" in misfit(ours, "(x, **kwargs)")
    assert "must be given" in misfit(lambda x, y: ..., "(x)")


@pytest.mark.parametrize(
    "line",
    [
        "from dassl.config import clean_cfg, get_cfg_default",
        "from dassl.engine.trainer import SummaryWriter",
        "from dassl.optim.radam import RAdam",
        "from dassl.data.data_manager import DataManager, DatasetWrapper, TorchDataset, build_data_loader",
    ],
)
def test_imports_of_public_checkouts(line: str) -> None:
    """DePT's and SkipTuning's among them."""
    exec(line, {})
