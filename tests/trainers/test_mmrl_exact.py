"""MMRL against the plain reference in float32, at the paper's layout."""

from __future__ import annotations

import torch

from clip.model import build_model
from reference.mmrl import PlainMMRL
from reference.shared import toy
from tests.agreement import loss_and_gradients_agree
from trainers.mmrl import MMRLModel
from trainers.mmrl import method as mmrl
from trainers.settings import MMRLSettings


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
        w = plain.class_features(learned)
        both, alone = (plain.probabilities(plain.scores(learned, images, w, seen), seen) for seen in (True, False))
        assert torch.allclose(scores, both, atol=1e-5)
        features = model.class_features()
        assert torch.allclose(model.scores(images, features), both, atol=1e-5)
        model.both = False
        assert torch.allclose(model.scores(images, features).softmax(-1), alone, atol=1e-5)


def test_float32_at_the_paper_layout(monkeypatch):
    torch.manual_seed(0)
    weights = toy.clip_weights(3, embed=32, res=64, patch=16, vision=(128, 12), text=(64, 12))
    ids = toy.prompt_ids([[3], [4, 5, 6], [7, 8], [9, 1, 2, 3, 4]], [10, 11, 12, 13], [20])
    cfg = MMRLSettings(0.7, 0.5, tuple(range(6, 13)), 32, 5)
    model = build(monkeypatch, ids, weights, cfg, torch.float32)
    compare(model, weights, ids, cfg, torch.randn(3, 3, 64, 64), torch.tensor([0, 3, 1]), 1e-5, 1e-4)
