"""2SFS: the second stage against its equations, where a run enters it, and classes found by name."""

from __future__ import annotations

import math

import pytest
import torch

import reference
from clip.model import build_model
from dassl.config import get_cfg_default
from reference.shared import toy
from tests.agreement import loss_and_gradients_agree
from trainers.twosfs import TwoSFSModel

NAMES = ["dog", "cat", "dog"]


def second_stage(names, trained):
    """A float64 model over ``names`` with a classifier of ``trained`` classes, and CLIP's weights."""
    weights = {name: value.double() for name, value in toy.clip_weights(0, vocabulary=49408).items()}
    clip_model = build_model(weights, torch.float32).double()
    model = TwoSFSModel(clip_model, names, [f"a photo of a {name}." for name in names]).double()
    model.fit_to({"classifier": torch.zeros(len(trained), 16)}, trained)
    torch.manual_seed(0)
    for value in model.state_dict().values():
        value.normal_()
    model.set_stage(True)
    return model, weights


def test_second_stage_equals_its_equations():
    """Each class learns its own row, and of two with one name the last scores."""
    model, weights = second_stage(NAMES, NAMES)
    images, labels = torch.randn(2, 3, 16, 16).double(), torch.tensor([0, 1])
    cfg = get_cfg_default()
    cfg.DATASET.TEMPLATE = "a photo of a {}."
    plain = reference.of("TwoSFS").plain(weights, NAMES, cfg)
    learned = {name: value.clone().requires_grad_() for name, value in model.state_dict().items()}
    (loss, scores), want = model.loss(images, labels), plain.loss(learned, images, labels)
    loss.backward()
    want.backward()
    loss_and_gradients_agree(loss, model, want, learned, unseen=True)
    assert all(value.grad is None for value in model.parameters())
    torch.testing.assert_close(model.classifier.grad, learned["classifier"].grad)
    torch.testing.assert_close(scores, plain.logits(learned, images))
    found = model.scores(images, model.class_features())
    torch.testing.assert_close(found, plain.scores(learned, images, plain.class_features(learned)))
    assert torch.equal(found[:, 0], found[:, 2]) and not torch.equal(found, scores)


def test_classes_are_found_by_name():
    model, _ = second_stage(["bird", "cat"], ["cat", "dog"])
    w, text = model.class_features(), model.text_features()
    torch.testing.assert_close(w[0], text[0])
    torch.testing.assert_close(w[1], torch.nn.functional.normalize(model.classifier[0], dim=-1))


@pytest.mark.parametrize(("share", "first"), [(0.6, 9), (0.0, 0), (1.0, 15)])
def test_stages_of_a_run(share, first, make_trainer):
    """Each learns its own tensors alone, on a cosine of its own."""
    options = ["OPTIM.LR_SCHEDULER", "cosine", "TEST.NO_TEST", True, "TRAINER.TWOSFS.N_ITERS_FRAC", share]
    trainer = make_trainer("TwoSFS", *options)
    model, step, rates, seen = trainer.model, trainer.forward_backward, [], []

    def forward_backward(batch):
        before = {name: value.detach().clone() for name, value in model.state_dict().items()}
        rates.append(trainer.optim.param_groups[0]["lr"])
        summary = step(batch)
        seen.append({name for name, value in model.state_dict().items() if not torch.equal(value, before[name])})
        return summary

    trainer.forward_backward = forward_backward
    trainer.train()
    norms = {name for name, _ in model.named_parameters()}
    assert seen == [norms] * first + [{"classifier"}] * (15 - first)
    wanted = [
        1e-6 + 0.999e-3 / 2 * (1 + math.cos(math.pi * k / count)) for count in (first, 15 - first) for k in range(count)
    ]
    assert [rate for k, rate in enumerate(rates) if k != first] == pytest.approx(wanted[:first] + wanted[first + 1 :])
    if first < 15:
        assert model.classifier.any()
