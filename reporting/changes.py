"""Which settings a run has beyond its configuration file: those that its name shows, and the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import trainers
from reporting.likeness import PLACE
from reporting.load.result import Key
from runs import config
from runs.grid.expand import TAKEN, resolved
from runs.protocols import default_config, steps_of, tag

Settings = Mapping[str, Any]


def file_of(key: Key) -> str:
    """Return the configuration file (its stem) that a row's runs begin with."""
    variant = key.row.variant
    if variant and not variant.startswith("+"):
        return variant.split("+")[0]
    return default_config(key.protocol, key.source, key.row.method, key.shots)


@cache
def plain(method: str, dataset: str, cfg: str, protocol: str) -> Settings | None:
    """Return what a training run has without any changed setting; None where there is no such configuration."""
    try:
        return as_json(config.identity(resolved(dataset, method, cfg, steps_of(protocol)[0].task, ())))
    except (ValueError, FileNotFoundError):
        return None


def as_json(settings: Settings) -> Settings:
    """Return settings as a record has them: lists for tuples."""
    return json.loads(json.dumps(dict(settings), allow_nan=False))


def changed(key: Key, settings: Settings) -> dict[str, Any]:
    """Return the settings of a run that differ from its configuration file; none where that file is unknown.

    A test on another data set than the one trained on has settings of its own for that: these do not count.
    """
    before = plain(key.row.method, key.source, file_of(key), key.protocol) or {}
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
    """Return whether the configuration file of a run's data set, as it is now, names other data than the run had."""
    now = plain(key.row.method, key.dataset, file_of(key), key.protocol)
    return bool(settings) and now is not None and any(now.get(name, "") != settings.get(name, "") for name in PLACE)


def short_name(setting: str) -> str:
    """Return what a row's name calls a setting: `TRAINER.MMRL.ALPHA` is `ALPHA`."""
    return tag(setting, "").rstrip("=")


def full_name(method: str, short: str) -> str:
    """Return a setting's key from what a row's name calls it: `ALPHA` is `TRAINER.MMRL.ALPHA`."""
    host, names = trainers.plugins.split_title(method)
    if "." in short or host not in trainers.METHODS:
        return short
    nodes = [trainers.METHODS[host].settings, *(trainers.plugins.PLUGINS[name].settings for name in names)]
    return next((node for node in nodes if short in node.defaults()), nodes[0]).key(short)


def shown(key: Key, settings: Settings) -> dict[str, Any]:
    """Return the settings that a row's name shows, with their values."""
    return {name: settings[name] for name in sorted(settings) if short_name(name) in key.row.changes}


def hidden(key: Key, settings: Settings) -> dict[str, Any]:
    """Return the changed settings that a row's name does not show: those after `--` on the grid's command line."""
    visible = shown(key, settings)
    return {name: value for name, value in changed(key, settings).items() if name not in visible}


def variant_by_settings(key: Key, settings: Settings) -> str:
    """Return the variant of a run whose folder does not name it: what it changes of its method's settings."""
    own = sorted((name, str(value)) for name, value in changed(key, settings).items() if name.startswith("TRAINER."))
    return "+".join([key.row.variant, *(tag(name, value) for name, value in own)])
