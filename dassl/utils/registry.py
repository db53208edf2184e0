"""Name -> object tables; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from common.names import closest

T = TypeVar("T")


def nearest(name: object, available: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the most similar available name, or all names if none is similar."""
    options = [str(option) for option in available]
    if near := closest(str(name), options, cutoff=0.5):
        return f"; did you mean '{near[0]}'?"
    return f"; available: {', '.join(options) or 'none'}"


class Registry:
    """Table of classes or functions by their own names; a second or unknown name raises ValueError.

    Used as a decorator, `@REGISTRY.register()`, or as a call, `REGISTRY.register(obj)`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._obj_map: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Register `obj` under its `__name__` and return it; without `obj`, return a decorator.

        Raises ValueError if the name is taken, unless `force`.
        """
        if obj is None:
            return self._decorator(force)
        return self._decorator(force)(obj)

    def _decorator(self, force: bool) -> Callable[[T], T]:
        def add(obj: T) -> T:
            self._do_register(getattr(obj, "__name__"), obj, force)  # noqa: B009 - T is any class or function
            return obj

        return add

    def _do_register(self, name: str, obj: Any, force: bool = False) -> None:
        if name in self._obj_map and not force:
            raise ValueError(f"'{name}' is already registered in the {self._name} registry")
        self._obj_map[name] = obj

    def get(self, name: str) -> Any:
        """Return the object called `name`; ValueError with the nearest valid name if there is none."""
        if name not in self._obj_map:
            raise ValueError(f"unknown {self._name} '{name}'{nearest(name, self._obj_map)}")
        return self._obj_map[name]

    def build(self, what: str, name: str, verbose: bool, /, *args: Any, **kwargs: Any) -> Any:
        """Call the object called `name`, and say so first if `verbose`; ValueError as `get`."""
        make = self.get(name)
        if verbose:
            print(f"{what}: {name}")
        return make(*args, **kwargs)

    def registered_names(self) -> list[str]:
        """Return the names in the order in which they were registered."""
        return list(self._obj_map)
