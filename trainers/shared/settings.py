"""A node of a configuration as a frozen object that holds allowed values only: the base of all methods' settings.

A field ``n_ctx`` is the key ``N_CTX``. What a field allows stands beside its default (``at_least`` and the like), what
several fields allow together in ``rules``. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

N = TypeVar("N", bound="Node")
Rules = Iterator[tuple[Any, str]]  # what must be true, and the line, from the key on, that says so where it is not

PRECISIONS = ("fp32", "fp16", "amp", "bf16", "auto")


@dataclass(frozen=True)
class Node:
    """A configuration's node. Raises ValueError naming the key whose value is not allowed."""

    path: ClassVar[str] = ""  # such as TRAINER.COOP; the keyword of a subclass

    def __init_subclass__(cls, path: str | None = None, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.path = cls.path if path is None else path

    def __post_init__(self) -> None:
        for allowed, line in self.rules():
            if not allowed:
                raise ValueError(self.key(line))

    @classmethod
    def key(cls, name: str) -> str:
        """Return a key with its path, such as ``TRAINER.COOP.N_CTX``."""
        return f"{cls.path}.{name}"

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the node's keys and their defaults, in types that a YAML file has."""
        return {_key_of(one.name): _plain(one.default) for one in fields(cls)}

    @classmethod
    def of(cls: type[N], node: Mapping[str, Any]) -> N:
        """Return a configuration's node as an object."""
        return cls(**{one.name: _like(one.default, node[_key_of(one.name)]) for one in fields(cls)})

    def values(self) -> dict[str, Any]:
        """Return the node's keys and their values, in types that a YAML file has."""
        return {_key_of(one.name): _plain(getattr(self, one.name)) for one in fields(self)}

    def rules(self) -> Rules:
        """Yield what must be true of the values; subclasses add what fields allow together."""
        for one in fields(self):
            if one.metadata:
                value = getattr(self, one.name)
                yield one.metadata["allows"](value), f"{_key_of(one.name)} {one.metadata['line'].format(_plain(value))}"


@dataclass(frozen=True)
class Settings(Node):
    """A method's settings; a method without a node of its own has these alone.

    The keyword ``public_draws`` of a subclass: whether it is known what its public code draws (``official_draws``).
    """

    public_draws: ClassVar[bool] = False
    needs_validation: ClassVar[bool] = False  # whether the method chooses something on validation images
    prec: str = field(default="fp16", kw_only=True)

    def __init_subclass__(cls, public_draws: bool = False, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.public_draws = cls.public_draws or public_draws

    @classmethod
    def has_public_draws(cls, node: Mapping[str, Any]) -> bool:
        """Return ``public_draws``; a subclass may look at the values of the node."""
        return cls.public_draws

    def unread(self) -> str:
        """Return a line that says which given setting has no effect beside another, or ""."""
        return ""

    def rules(self) -> Rules:
        """Yield the rule of precision and the fields' own."""
        yield self.prec in PRECISIONS, f"PREC is {self.prec!r}: choose one of {', '.join(PRECISIONS)}"
        yield from super().rules()


def checked(default: Any, allows: Callable[[Any], Any], line: str) -> Any:
    """Return a field whose values must be allowed; ``line`` follows the key, with ``{}`` for the value."""
    return field(default=default, metadata={"allows": allows, "line": line})


def at_least(least: int, default: Any) -> Any:
    """Return a field with a lower bound."""
    return checked(default, lambda value: value >= least, f"must be at least {least}, not {{}}")


def share(default: float) -> Any:
    """Return a field between 0 and 1."""
    return checked(default, lambda value: 0 <= value <= 1, "must lie in [0, 1], not {}")


def only(value: Any) -> Any:
    """Return a field that has one value."""
    return checked(value, lambda given: given == value, f"must be {value}, not {{!r}}: the release has no other way")


def choice(*choices: str, default: str = "") -> Any:
    """Return a field with these values; the first is the default unless another is named."""
    last = " or ".join([", ".join(choices[:-1]), choices[-1]])
    return checked(default or choices[0], lambda value: value in choices, f"must be {last}, not {{!r}}")


def chosen(*choices: str, between: str = " or ") -> Any:
    """Return a field with these values, the first by default, whose line invites to choose."""
    return checked(choices[0], lambda value: value in choices, f"is {{!r}}: choose {between.join(choices)}")


def _key_of(name: str) -> str:
    """Return a field's key; ``lambda`` is a word of Python, so that field has an underscore behind it."""
    return name.rstrip("_").upper()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _like(default: Any, value: Any) -> Any:
    """Return a node's value in the type of a field's default."""
    return type(default)(value) if isinstance(default, tuple | float) else value
