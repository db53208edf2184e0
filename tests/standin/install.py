"""A package `dassl` of exactly the public one's names: what is listed and has a behaviour here works.

`dassl/__init__.py` of the stand-in calls `install`. Whatever is not listed does not exist; what is listed and has no
behaviour says so when it is called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .behaviour import HOMES
from .surface import DEFAULTS, SURFACE, source


class StandInModule(ModuleType):
    """A module that has the listed names and no others."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        listed = SURFACE[self.__name__]
        if name not in listed:
            raise AttributeError(f"the public {self.__name__} has no {name}")
        value = find(self.__name__, name)
        setattr(self, name, value)
        return value


def find(module: str, name: str) -> Any:
    """What stands for a listed name."""
    entry = SURFACE[module][name]
    home = source(entry)
    if home.startswith("dassl"):
        return getattr(import_module(home), name)
    if home:
        return getattr(import_module(home), {"TorchDataset": "Dataset", "CN": "CfgNode"}.get(name, name))
    behaviour = import_module(f"{__package__}.behaviour.{HOMES[module]}") if module in HOMES else None
    return getattr(behaviour, name, None) or _absent(module, name)


def _absent(module: str, name: str) -> Any:
    def absent(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"the stand-in has no behaviour for {module}.{name}")

    return absent


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in SURFACE or fullname == DEFAULTS:
            return None
        package = any(other.startswith(f"{fullname}.") for other in SURFACE)
        return ModuleSpec(fullname, self, origin="stand-in", is_package=package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Let `import dassl.x` find the stand-in's modules."""
    sys.meta_path.insert(0, _Finder())
