"""What stands on a command line: words to keys and values, each value as its key's type, no key with two values."""

from __future__ import annotations

import argparse
import ast
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAMED = {
    "root": "DATASET.ROOT",
    "output_dir": "OUTPUT_DIR",
    "resume": "RESUME",
    "seed": "SEED",
    "source_domains": "DATASET.SOURCE_DOMAINS",
    "target_domains": "DATASET.TARGET_DOMAINS",
    "transforms": "INPUT.TRANSFORMS",
    "trainer": "TRAINER.NAME",
    "backbone": "MODEL.BACKBONE.NAME",
    "head": "MODEL.HEAD.NAME",
    "official_stream": "OFFICIAL_STREAM",
}
PATHS = ("DATASET.ROOT", "OUTPUT_DIR", "RESUME")


def command_line(args: argparse.Namespace) -> list[tuple[str, Any, str]]:
    """Return (dotted key, value, how it is written) of all that `args` (train.py's arguments) set.

    Raises ValueError: an option has no value, or an argument stands after the options.
    """
    given = []
    for name, key in NAMED.items():
        value = getattr(args, name)
        if value not in (None, "", []):
            words = value if isinstance(value, list) else [] if value is True else [value]
            given.append((key, value, " ".join([f"--{name.replace('_', '-')}", *map(str, words)])))
    return given + [(key, value, f"{key} {value}") for key, value in pairs(args.opts)]


def pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Read options, `KEY VALUE` or `KEY=VALUE`, as (key, value) pairs; `--` counts for nothing.

    Raises ValueError: a key has no value, or an argument stands in the place of a key.
    """
    found, rest = [], (word for word in words if word != "--")
    for word in rest:
        if word.startswith("-"):
            raise ValueError(f"{word} stands after KEY VALUE options: put it before them")
        key, sign, value = word.partition("=")
        if not sign:
            following = next(rest, None)
            if following is None:
                raise ValueError(f"options come as KEY VALUE pairs, and {key} has no value")
            if following == "=":
                raise ValueError(f"{key} = has spaces around its sign: write {key}=VALUE or {key} VALUE")
            value = following
        found.append((key, value))
    return found


def refuse_two_values(
    given: Iterable[tuple[str, Any, str]], defaults: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """Raise ValueError naming both ways where the command line (`command_line`) gives a key two values.

    `defaults` has the known keys with a value of their type, `names` the second names of trainers.
    """
    first: dict[str, tuple[Any, str]] = {}
    for key, value, written in given:
        if key not in defaults:
            continue  # refused where it is merged
        read = coerce(value, defaults[key], f"command line: {key}")
        if key == "TRAINER.NAME":
            read = names.get(read, read)
        elif key in PATHS:
            read = Path(read)
        before, how = first.setdefault(key, (read, written))
        if before != read:
            raise ValueError(f"{key} is given twice, by {how} and by {written}: leave one of them out")


def coerce(value: Any, default: Any, where: str) -> Any:
    """Return `value` as the type of `default`: text is read as a Python literal, an int serves as a float, a list
    as a tuple and back; nothing else changes type. Raises ValueError naming `where`, also for NaN and infinity.
    """
    wanted = type(default)
    if wanted is str:
        if isinstance(value, str):
            return value
        raise ValueError(f"{where} must be text, not {value!r}")
    decoded = _literal(value, wanted)
    if isinstance(decoded, float) and not math.isfinite(decoded):
        raise ValueError(f"{where} must be a finite number, not {value!r}")
    if default is None or type(decoded) is wanted and wanted not in (list, tuple):
        return decoded
    if wanted is float and type(decoded) is int:
        return float(decoded)
    if wanted in (list, tuple) and isinstance(decoded, list | tuple):
        items = [coerce(item, default[0], where) for item in decoded] if default else decoded
        return wanted(items)
    example = "True or False" if wanted is bool else f"{wanted.__name__}, such as {default!r}"
    raise ValueError(f"{where} must be {example}, not {value!r}")


def _literal(value: Any, wanted: type) -> Any:
    if not isinstance(value, str):
        return value
    if wanted is bool and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        names = re.fullmatch(r"\[\s*(\w+(?:\s*,\s*\w+)*)\s*\]", value) if wanted is list else None
        return re.split(r"\s*,\s*", names[1]) if names else value  # [DePT, DeKg], whose quotes a shell took
