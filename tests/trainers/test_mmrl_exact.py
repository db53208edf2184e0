"""MMRL against the plain reference (values and gradients) and against the authors' numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip.model import build_model
from tests.reference import toy
from tests.reference.agreement import GOLDEN, golden_agrees, loss_and_gradients_agree, setting_of
from tests.reference.plain_mmrl import PlainMMRL
from tools import golden
from tools.goldens.recipe import clip_weights, images_of
from trainers.mmrl import MMRLModel
from trainers.mmrl import method as mmrl
from trainers.settings import MMRLSettings
from trainers.shared.templates import TEMPLATES

word = st.integers(1, 59)
names = st.lists(st.lists(word, min_size=1, max_size=6), min_size=1, max_size=6)


def build(monkeypatch, ids, weights, cfg, dtype):
    """A model over ready-made token ids."""
    monkeypatch.setattr(mmrl, "prompt_tokens", lambda prompts: ids)
    model = MMRLModel(build_model(weights, torch.float32).to(dtype), ["unused"] * len(ids), cfg)
    return model.to(dtype)


def compare(model, weights, ids, cfg, images, labels, loss_tolerance, grad_tolerance):
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    plain = PlainMMRL(weights, ids, cfg.rep_layers[0], cfg.alpha, cfg.reg_weight)
    expected = plain.loss(learned, images, labels)
    expected.backward()
    loss, scores = model.loss(images, labels)
    loss.backward()
    loss_and_gradients_agree(loss, model, expected, learned, loss_tolerance, grad_tolerance)
    with torch.no_grad():
        both = plain.probabilities(learned, images, both=True)
        alone = plain.probabilities(learned, images, both=False)
        assert torch.allclose(scores, both, atol=1e-5)
        features = model.class_features()
        assert torch.allclose(model.scores(images, features), both, atol=1e-5)
        model.both = False
        assert torch.allclose(model.scores(images, features).softmax(-1), alone, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    names=names,
    before=st.lists(word, max_size=4),
    after=st.lists(word, max_size=3),
    depths=st.tuples(st.integers(1, 4), st.integers(0, 3)),
    k=st.integers(1, 4),
    rep_dim=st.integers(1, 8),
    batch=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 10),
)
def test_float64_equals_the_equations(names, before, after, depths, k, rep_dim, batch, alpha, seed):
    depth, skipped = depths
    first = max(1, depth - skipped)
    cfg = MMRLSettings(alpha, 2.0, tuple(range(first, depth + 1)), rep_dim, k)
    with pytest.MonkeyPatch.context() as monkeypatch:
        torch.manual_seed(seed)
        weights = toy.clip_weights(seed, vision=(64, depth), text=(64, depth))
        ids = toy.prompt_ids(names, before, after)
        model = build(monkeypatch, ids, weights, cfg, torch.float64)
        images = torch.randn(batch, 3, 16, 16, dtype=torch.float64)
        labels = torch.randint(len(names), (batch,))
        double = {name: value.double() for name, value in weights.items()}
        compare(model, double, ids, cfg, images, labels, 1e-9, 1e-9)


def test_float32_at_the_paper_layout(monkeypatch):
    torch.manual_seed(0)
    weights = toy.clip_weights(3, embed=32, res=64, patch=16, vision=(128, 12), text=(64, 12))
    ids = toy.prompt_ids([[3], [4, 5, 6], [7, 8], [9, 1, 2, 3, 4]], [10, 11, 12, 13], [20])
    cfg = MMRLSettings(0.7, 0.5, tuple(range(6, 13)), 32, 5)
    model = build(monkeypatch, ids, weights, cfg, torch.float32)
    compare(model, weights, ids, cfg, torch.randn(3, 3, 64, 64), torch.tensor([0, 3, 1]), 1e-5, 1e-4)


@pytest.mark.parametrize("name", ["mmrl_paper_layout", "mmrl_late_insert"])
def test_golden(name):
    """The authors' public code on the same weights (float32): features 1e-4, losses 1e-5, gradients 1e-3."""
    golden_agrees(name, losses=1e-5)


@pytest.mark.parametrize("name", ["mmrl_paper_layout", "mmrl_late_insert"])
def test_golden_of_the_plain_reference(name):
    """The reference that everything is measured against agrees with the authors' code too."""
    setting = setting_of(name)
    weights = clip_weights(setting["clip"])
    learned = dict(golden.model_of(setting).named_parameters())
    prompts = mmrl.fill(TEMPLATES[setting["dataset"]], setting["classes"])
    plain = PlainMMRL(
        weights, mmrl.prompt_tokens(prompts), setting["rep_layers"][0], setting["alpha"], setting["reg_weight"]
    )
    loss = plain.loss(learned, images_of(setting), torch.tensor(setting["labels"]))
    loss.backward()
    with np.load(GOLDEN / f"{name}.npz") as expected:
        assert abs(loss.item() - expected["losses"][0]) <= 1e-5 * expected["losses"][0]
        for key, value in learned.items():
            want = float(expected[f"gradnorm/{key}"])
            assert abs(value.grad.norm().item() - want) <= 1e-3 * want, key
