"""The method files: what they resolve to, that no two are one, and that each says only what differs."""

from __future__ import annotations

from collections import defaultdict

import pytest
import yaml

from runs import config
from tests.often import some_often
from tests.runs import resolved
from trainers.shared.config_files import with_bases

NAMES = [resolved.name_of(path) for path in resolved.method_files()]
ALIAS = "# alias of "


@pytest.mark.parametrize("dataset", some_often(resolved.dataset_names(), ("digits", "eurosat", "imagenet")))
def test_every_configuration_is_the_pinned_one(dataset):
    pins = resolved.pinned()
    changed = [name for name in NAMES if resolved.digest(name, dataset) != pins.get(name, {}).get(dataset)]
    assert not changed, f"as meant? See {resolved.__file__}"
    assert sorted(pins) == sorted(NAMES)


def test_two_files_are_two_configurations_or_say_that_they_are_one():
    alike = defaultdict(list)
    for name, row in resolved.pinned().items():
        alike[tuple(row.values())].append(name)
    aliases = {}
    for path in resolved.method_files():
        text = path.read_text(encoding="utf-8")
        if text.startswith(ALIAS):
            (base,) = yaml.safe_load(text).values()
            assert text.startswith(f"{ALIAS}{base}"), path
            aliases[resolved.name_of(path)] = f"{path.parent.name}/{base.removesuffix('.yaml')}"
    assert len(aliases) == 3
    for names in alike.values():
        (own,) = [name for name in names if name not in aliases]
        assert all(aliases[name] == own for name in names if name != own)


FILES = [*sorted(resolved.BASES.glob("*.yaml")), *resolved.method_files()]


@pytest.mark.parametrize("path", FILES, ids=resolved.name_of)
def test_a_file_says_only_what_differs(path):
    """From what it builds on, and from the defaults."""
    *bases, (_, own) = with_bases(path)
    cfg = config.default_cfg()
    for source, tree in bases:
        config.merge(cfg, tree, source)
    before = dict(config.flatten(cfg))
    config.merge(cfg, own, path)
    needed = {"INPUT.SIZE"} if path.parent == resolved.BASES else set()  # over what a data set's file says of it
    assert [key for key, _ in leaves(own) if config.get(cfg, key) == before[key] and key not in needed] == []


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
