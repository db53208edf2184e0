"""Every method has a reference with all facts, or says why it lacks one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import reference
import trainers
from tests.trainers.test_golden_numbers import METHODS as GOLDEN

ADD = "{} has no {}: add {} (reference/{}.py), or say in lacks[{!r}] why there is none"


def missing(method):
    """Lines that say what a method's reference lacks without a reason, or has beside a reason for lacking it."""
    facts = reference.of(method)
    has = {
        "golden": method in GOLDEN.values(),
        "checkpoints": bool(facts.checkpoints),
        "commands": bool(facts.commands),
        "draws": trainers.METHODS[method].settings.has_public_draws(trainers.METHODS[method].settings.defaults()),
    }
    assert has.keys() == reference.FACTS.keys() and facts.lacks.keys() <= has.keys()
    module = reference.module_of(method)
    return [
        f"{method} has {name}, and says why not" if there else ADD.format(method, name, what, module, name)
        for name, what in reference.FACTS.items()
        if (there := has[name]) == (name in facts.lacks)
    ]


@pytest.mark.parametrize("method", trainers.METHODS)
def test_every_fact_is_there_or_has_a_reason(method):
    assert missing(method) == []
    keys = {entry.node for entry in trainers.METHODS.values() if entry.module == trainers.METHODS[method].module}
    for options in (reference.of(method).bench, reference.of(method).toy):
        assert all(key.split(".")[1] in keys for key in options), "settings of another method"


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(trainers.METHODS, "New", trainers.METHODS["CoOp"]._replace(module="trainers.new"))
    with pytest.raises(ValueError, match=r"^New has no reference: add reference/new.py with New = Reference\(...\) "):
        reference.of("New")
    bare = SimpleNamespace(New=reference.Reference(plain=None, lacks={"draws": "none known"}))
    monkeypatch.setitem(sys.modules, "reference.new", bare)
    monkeypatch.setattr(reference, "find_spec", lambda name: True)
    first, *rest = missing("New")
    assert first == (
        "New has no golden: add numbers of the public code in tests/trainers/data, whose JSON names the method "
        "(reference/new.py), or say in lacks['golden'] why there is none"
    )
    assert [line.split(":")[0] for line in rest] == [
        "New has no checkpoints",
        "New has no commands",
        "New has draws, and says why not",
    ]
