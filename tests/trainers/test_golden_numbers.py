"""The numbers of the public codes: what we recompute, and the plain references, on the same weights (float32)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

import reference
from reference.shared.recipe import clip_weights
from tests.agreement import GOLDEN, golden_agrees, relative, setting_of
from tests.often import some_often
from tools import golden

METHODS = {path.stem: golden.method_of(setting_of(path.stem)) for path in sorted(GOLDEN.glob("*.json"))}


WIDE = {name for name in METHODS if setting_of(name)["clip"]["vw"] >= 768}  # ViT-B/16's widths
LEARNED = [name for name in METHODS if setting_of(name)["trainable"]]
# Slow: of the public code's numbers those that the method has of a small CLIP too.
OFTEN = {name for name in METHODS if name not in WIDE or all(METHODS[n] != METHODS[name] for n in {*METHODS} - WIDE)}


@lru_cache(maxsize=2)
def filled(sizes):
    return clip_weights(dict(sizes))


def clip_of(sizes):
    """The recipe's CLIP; nearly all settings have one small CLIP, and most others one of ViT-B/16's widths."""
    return filled(tuple(sizes.items()))


@pytest.fixture(autouse=True)
def clips_are_filled_once(monkeypatch):
    monkeypatch.setattr(golden, "clip_weights", clip_of)


def test_every_file_has_its_numbers():
    assert {path.stem for path in GOLDEN.glob("*.npz")} == set(METHODS)


@pytest.mark.parametrize("name", some_often(METHODS, OFTEN))
def test_golden(name):
    golden_agrees(name, **reference.of(METHODS[name]).bounds)


@pytest.mark.parametrize("name", some_often(LEARNED, {*LEARNED} - WIDE))
def test_golden_of_the_plain_reference(name):
    """What everything is measured against agrees with the public code too: the first step's loss and gradients."""
    setting = setting_of(name)
    numbers = golden.numbers_of(setting)
    plain = reference.of(METHODS[name]).plain(clip_of(setting["clip"]), setting["classes"], numbers.cfg)
    learned = {key: value.clone() for key, value in numbers.model.state_dict().items()}
    for key, _ in numbers.model.named_parameters():
        learned[key].requires_grad_()
    loss = numbers.plain_loss(plain, learned)
    loss.backward()
    with np.load(GOLDEN / f"{name}.npz") as expected:
        want = expected["loss0"] if "loss0" in expected else expected["losses"][0]
        assert abs(loss.item() - want) <= 1e-5 * want
        for (key, _), name in zip(numbers.model.named_parameters(), numbers.learned(), strict=True):
            norm, grad = float(expected[f"gradnorm/{name}"]), learned[key].grad
            assert abs(grad.norm().item() - norm) <= 1e-3 * norm, key
            if f"grad/{name}" in expected:
                assert relative(grad, torch.from_numpy(expected[f"grad/{name}"])) <= 1e-3, key
