"""MetaPrompt's step across classes, and its frozen class features' prompts."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.metaprompt import PlainMetaPrompt
from tests.trainers.test_deep_prompts import clips, ids
from trainers.metaprompt import Meta_B2N, MetaPromptModel, across_classes, halves_of

NAMES = ["dog", "inline_skate", "yellow-bellied sapsucker", "zebra", "photo of"]
RATE = 0.05


@settings(max_examples=15, deadline=None)
@given(
    classes=st.integers(1, 5),
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    orders=st.tuples(st.permutations(range(5)), st.permutations(range(5))),
    restore_each=st.booleans(),
)
def test_steps_equal_the_equations(classes, labels, orders, restore_each):
    """Two steps, skipped halves included, against SGD written out, in float64."""
    torch.manual_seed(0)
    clip_model, weights = clips(0, 3, 3)
    names, labels = NAMES[:classes], [label % classes for label in labels]
    ours = MetaPromptModel(clip_model, names, ["my {}"], 2, 2, 2).double()
    plain = PlainMetaPrompt(weights, ids("X X {}.", names), [ids("my {}", names, spoken=False)])
    for value in ours.parameters():
        value.data.normal_(std=0.3)
    learned = {name: value.detach().clone().requires_grad_() for name, value in ours.named_parameters()}
    images, buffers = torch.randn(len(labels), 3, 16, 16, dtype=torch.float64), {}
    optim = torch.optim.SGD(ours.parameters(), lr=RATE, momentum=0.9, weight_decay=0.01)

    def update(loss):
        optim.zero_grad()
        loss.backward()
        optim.step()

    for order in ([label for label in order if label < classes] for order in orders):
        update(ours.loss(images, torch.tensor(labels))[0])
        gradient = lambda loss: torch.autograd.grad(loss, ours.theta)[0]  # noqa: E731
        across_classes(ours, labels, order, update, gradient, 0.2 * RATE, restore_each)
        plain.train_step(learned, buffers, images, torch.tensor(labels), order, RATE, restore_each)
    for name, value in ours.named_parameters():
        assert (value - learned[name]).norm() <= 1e-9 * learned[name].norm(), name


def test_halves():
    assert halves_of([3, 0, 4, 1, 2]) == [([3, 0, 4], [1, 2]), ([1, 2], [3, 0, 4])]
    assert halves_of([5]) == [([5], []), ([], [5])]


@pytest.mark.parametrize("restore_each", [False, True])
def test_a_training_step_has_both_parts(restore_each, make_trainer, one_batch, monkeypatch):
    """The trainer takes theta's step across shuffled classes with the current rate; image tokens rest in it."""
    trainer = make_trainer("Meta_B2N", "TRAINER.META.RESTORE_AFTER_EACH_HALF", restore_each, "OPTIM.NAME", "sgd")
    twin = make_trainer("Meta_B2N", "TRAINER.META.RESTORE_AFTER_EACH_HALF", restore_each, "OPTIM.NAME", "sgd")
    batch = one_batch(trainer)
    batch["label"] = torch.tensor([0, 1, 3, 4])
    order = [3, 0, 4, 1, 2]
    monkeypatch.setattr(random, "shuffle", lambda items: items.__setitem__(slice(None), order))
    monkeypatch.setattr(twin, "after_update", lambda labels: None)
    for one in (trainer, twin):
        one.epoch, one.batch_idx, one.num_batches = 0, 0, 1
        one.rate = one.get_current_lr()
        one.forward_backward(batch)
    gradient = lambda loss: torch.autograd.grad(loss, twin.model.theta)[0]  # noqa: E731
    losses = across_classes(twin.model, [0, 1, 3, 4], order, twin._update, gradient, 0.2 * twin.rate, restore_each)
    assert len(losses) == 2
    for name, value in trainer.model.state_dict().items():
        assert torch.allclose(value, twin.model.state_dict()[name], rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize(
    ("dataset", "own", "templates"),
    [
        ("OxfordPets", "", ["a photo of a {}, a type of pet"]),
        ("Food101", "", ["a photo of a {}, a type of food"]),
        ("DescribableTextures", "", ["{} texture"]),
        ("Digits", "my {}.", ["my {}."]),
    ],
)
def test_templates(dataset, own, templates, make_trainer):
    cfg = make_trainer("Meta_B2N").cfg.clone()
    cfg.merge_from_list(["DATASET.NAME", dataset, "DATASET.TEMPLATE", own])
    assert Meta_B2N.templates(cfg) == templates
    cfg.merge_from_list(["DATASET.NAME", "ImageNetSketch", "DATASET.TEMPLATE", ""])
    assert len(Meta_B2N.templates(cfg)) == 8 and Meta_B2N.templates(cfg)[-1] == "a photo of a {}"
