"""Every method's settings: a node and an object say the same, and what is not allowed names its key."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import FrozenInstanceError, fields

import pytest

import trainers
from trainers.settings import ProGradLoss
from trainers.shared.settings import Settings

# Defaults of a shared node that one of its methods does not have.
OTHER_THAN_DEFAULTS = {"TCPSettings": {"N_CTX": 4}}
NODES = {entry.settings for entry in trainers.METHODS.values()} - {Settings} | {ProGradLoss}


def refused(allows, value) -> bool:
    with suppress(TypeError):
        return not allows(value)
    return False


@pytest.mark.parametrize("node", sorted(NODES, key=lambda node: node.__name__))
def test_a_node_becomes_settings_and_back(node):
    allowed = node.defaults() | OTHER_THAN_DEFAULTS.get(node.__name__, {})
    settings = node.of(allowed)
    assert settings.values() == allowed and node.path
    assert all(key == key.upper() and not isinstance(value, tuple) for key, value in node.defaults().items())
    with pytest.raises(FrozenInstanceError):
        setattr(settings, fields(node)[0].name, None)


@pytest.mark.parametrize("node", sorted(NODES, key=lambda node: node.__name__))
def test_a_value_that_is_not_allowed_names_its_key(node):
    checked = [one for one in fields(node) if one.metadata]
    for one in checked:
        bad = [value for value in (-1, 2.5, "none of these", ()) if refused(one.metadata["allows"], value)]
        assert bad, one.name
        for value in bad:
            key = node.key(one.name.rstrip("_").upper())
            with pytest.raises(ValueError, match=f"^{key.replace('.', '[.]')} "):
                node(**{one.name: value})


def test_methods_that_share_a_node_share_its_defaults():
    for one in NODES:
        assert all(one.defaults() == other.defaults() for other in NODES if other.path == one.path)


def test_settings_need_no_torch():
    code = "import sys, trainers; print('torch' in sys.modules, len(trainers.METHODS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(len(trainers.METHODS))]
