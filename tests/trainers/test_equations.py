"""Every method against its plain reference in float64: loss, gradients and scores, over random sizes and settings."""

from __future__ import annotations

from functools import cache
from math import prod
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import trainers
from clip.model import build_model
from dassl.config import get_cfg_default
from reference.shared import clip as plain_clip
from reference.shared import toy
from runs.config import merge_pairs
from tests.agreement import loss_and_gradients_agree
from trainers.plugins import PLUGINS, split_title
from trainers.plugins.contract import plug

WORDS = ["dog", "x", "polka-dotted", "inline_skate", "zebra", "yellow-bellied sapsucker", "a", "photo of"]
NAMES = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=5)
# (width, layers) of both towers; texts have one head or two.
TOWERS = [((64, 3), (64, 3)), ((64, 1), (64, 1)), ((64, 3), (64, 2)), ((64, 2), (128, 3))]
DATASETS = ["Caltech101", "OxfordPets", "EuroSAT", "ImageNet"]


@cache
def clips(towers):
    """A toy CLIP with the real vocabulary in float64, and its weights."""
    vision, text = towers
    weights = toy.clip_weights(0, vision=vision, text=text, vocabulary=49408)
    double = {name: value.double() for name, value in weights.items()}
    return build_model(weights, torch.float32).double().requires_grad_(False), double


@pytest.fixture(scope="module", autouse=True)
def plain_layers_are_built_once():
    """For the weights that `clips` keeps."""
    build, built = plain_clip.PlainBlock, {}

    def block(weights, *how):
        key = id(weights), how
        if key not in built:
            built[key] = weights, build(weights, *how)
        return built[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_clip, "PlainBlock", block)
        yield


def compare(title, pick, *how):
    """In the layout of a CPU, or in an accelerator's."""
    with mock.patch("clip.layers.waits_for_launches", return_value=pick([False, True])):
        compare_here(title, pick, *how)


def compare_here(title, pick, seed, towers, names, batch):
    method, plugins = split_title(title)
    facts, kind = reference.of(title), trainers.load(method)
    torch.manual_seed(seed)
    clip_model, weights = clips(towers)
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    data = {"DATASET.NAME": pick(DATASETS), "DATASET.TEMPLATE": pick(["", "", "a {} it is."])}
    drawn = facts.draw(pick, towers[0][1], towers[1][1])
    merge_pairs(cfg, list({"TRAINER.NAME": method, "TRAINER.PLUGINS": plugins, **data, **drawn}.items()))
    kind.check_cfg(object.__new__(kind), cfg)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in facts.smaller.items():
            monkeypatch.setattr(name, value)
        ours, plain = kind.build_method(cfg, clip_model, names), facts.plain(weights, names, cfg)
        plugged = plug(ours, cfg, names)
        ours.double()
        facts.ready(ours)
    if pick([False, True]):  # of a size that matters
        for value in ours.parameters():
            value.data.normal_(std=0.3)
    images, labels = torch.randn(batch, 3, 16, 16, dtype=torch.float64), torch.randint(len(names), (batch,))
    learned = {name: value.detach().clone() for name, value in ours.state_dict().items()}
    for name, _ in ours.named_parameters():
        learned[name].requires_grad_()
    if facts.learns:
        want = plain.loss(learned, images, labels)
        want.backward()
        loss, scores = plugged.loss(images, labels)
        loss.backward()
        loss_and_gradients_agree(loss, ours, want, learned, unseen=facts.unseen)
    with torch.no_grad():
        w, plain_w = plugged.class_features(), plain.class_features(learned)
        for seen in (True, False) if facts.new_classes and not cfg.TRAINER.COOP.CSC else (True,):
            plugged.use_classes(seen)
            found, expected = plugged.scores(images, w), plain.scores(learned, images, plain_w, seen)
            same(found, expected)
            same(plugged.probabilities(found), plain.probabilities(expected, seen))
            if facts.learns and seen:
                same(scores, plain.training_scores(learned, images, labels, expected))


def same(found, expected):
    assert found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


PAIRS = [title for name in PLUGINS if (known := reference.plugin(name)) for title in known.titles(name)]


def choices(method):
    """In how many ways a method's settings can be drawn."""
    sizes = []
    reference.of(method).draw(lambda values: sizes.append(len(list(values))) or list(values)[0], 3, 3)
    return prod(sizes)


def examples(title):
    """How many: few ways are soon seen, and a plug-in's host is compared by itself."""
    return 3 if title in PAIRS else 10 if choices(title) > 15 else 6


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", [*trainers.METHODS, *PAIRS])
def test_float64_equals_the_equations(method, times):
    @settings(max_examples=times * examples(method), deadline=None)
    @given(st.data(), st.integers(0, 100), st.sampled_from(TOWERS), NAMES, st.integers(1, 3))
    def for_all(data, seed, towers, names, batch):
        compare(method, lambda values: data.draw(st.sampled_from(list(values))), seed, towers, names, batch)

    for_all()


@pytest.mark.parametrize("method", [*trainers.METHODS, *PAIRS])
@pytest.mark.parametrize("last", [False, True])
def test_the_ends_of_every_range(method, last):
    """The first and the last of each setting's values, with several classes, names of several tokens and two images."""
    names = ["dog", "yellow-bellied sapsucker", "inline_skate", "photo of x"]
    compare(method, lambda values: list(values)[-1 if last else 0], 0, TOWERS[0], names, 2)
