"""Which settings a run has beyond its configuration file: those that its name shows, and the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import trainers
from reporting.names import default_settings
from reporting.result import Key
from runs import config
from runs.grid.expand import TAKEN, resolved
from runs.likeness import PLACE
from runs.protocols import PROTOCOLS, STEPS, tag

Settings = Mapping[str, Any]


def file_of(key: Key) -> str:
    """The configuration file (its stem) that a row's runs begin with."""
    variant = key.row.variant
    if variant and not variant.startswith("+"):
        return variant.split("+")[0]
    return default_settings(key.row.method, key.protocol, key.source, key.shots)


def tags_of(variant: str) -> list[str]:
    """The changed settings that a row's name shows: `+ALPHA=0.5+REP_DIM=32` has two."""
    return variant.split("+")[1:]


@cache
def plain(method: str, dataset: str, cfg: str, protocol: str) -> Settings | None:
    """What a training run has without any changed setting; None where there is no such configuration (any more)."""
    try:
        return as_json(config.identity(resolved(dataset, method, cfg, STEPS[PROTOCOLS[protocol][0]].task, ())))
    except (ValueError, FileNotFoundError):
        return None


def as_json(settings: Settings) -> Settings:
    """Settings as a record has them: lists for tuples."""
    return json.loads(json.dumps(dict(settings), allow_nan=False))


def changed(key: Key, settings: Settings) -> dict[str, Any]:
    """Settings of a run that differ from those of its configuration file; none where that file is unknown.

    A test on another data set than the one trained on has settings of its own for that: these do not count.
    """
    before = plain(key.row.method, key.source, file_of(key), key.protocol)
    if before is None:
        return {}
    elsewhere = key.dataset != key.source
    return {
        name: value
        for name, value in settings.items()
        if name in before
        and before[name] != value
        and name not in TAKEN
        and not (elsewhere and name.startswith("DATASET."))
    }


def names_other_data(key: Key, settings: Settings) -> bool:
    """Whether the configuration file of a run's data set, as it is now, names other data than the run had."""
    now = plain(key.row.method, key.dataset, file_of(key), key.protocol)
    return bool(settings) and now is not None and any(now.get(name, "") != settings.get(name, "") for name in PLACE)


def shown(key: Key, settings: Settings) -> dict[str, Any]:
    """The settings that a row's name shows, with their values."""
    names = {text.split("=")[0] for text in tags_of(key.row.variant)}
    found = {name: value for name, value in settings.items() if tag(name, "").rstrip("=") in names}
    return {name: found[name] for name in sorted(found)}


def hidden(key: Key, settings: Settings) -> dict[str, Any]:
    """The changed settings that a row's name does not show: those after `--` on a command line of the grid."""
    visible = shown(key, settings)
    return {name: value for name, value in changed(key, settings).items() if name not in visible}


def full_name(method: str, short: str) -> str:
    """A setting's key from what a row's name calls it: `ALPHA` is `TRAINER.MMRL.ALPHA`."""
    if "." in short or method not in trainers.METHODS:
        return short
    return f"TRAINER.{trainers.METHODS[method].node}.{short}"


def variant_by_settings(key: Key, settings: Settings) -> str:
    """The variant of a run whose folder does not name it: what it changes of its method's settings."""
    own = {name: value for name, value in changed(key, settings).items() if name.startswith("TRAINER.")}
    tags = [tag(name, str(value)) for name, value in sorted(own.items())]
    return "+".join([key.row.variant, *tags])
