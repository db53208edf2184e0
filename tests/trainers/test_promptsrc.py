"""PromptSRC's average over epochs, and its teacher."""

from __future__ import annotations

import math

import pytest
import torch

from clip.model import build_model
from reference.promptsrc import teacher_of
from reference.shared import toy
from reference.shared.plain import token_ids
from trainers import promptsrc
from trainers.promptsrc import epoch_weights, teacher_templates
from trainers.settings import PromptSRCSettings


@pytest.mark.parametrize(("epochs", "mean", "std"), [(20, 15, 1), (20, 6, 10), (50, 30, 30), (3, 60, 0.5)])
def test_weights_are_a_normal_density_over_epochs_of_sum_one(epochs, mean, std):
    density = [math.exp(-0.5 * ((epoch - mean) / std) ** 2) for epoch in range(1, epochs + 1)]
    found = epoch_weights(epochs, mean, std)
    assert sum(found) == pytest.approx(1)
    if sum(density) > 0:
        assert found == pytest.approx([value / sum(density) for value in density])
    else:
        assert found[-1] == pytest.approx(1)


def epochs_of(trainer, seen):
    """Let the trainer note its tensors after every epoch, before anything is made of them."""
    original = trainer.after_epoch

    def after_epoch():
        seen.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
        original()

    trainer.after_epoch = after_epoch
    return trainer


def test_kept_model_is_the_average_of_those_after_each_epoch(make_trainer):
    seen = []
    trainer = epochs_of(make_trainer("PromptSRC"), seen)
    trainer.train()
    loaded = make_trainer("PromptSRC", "SEED", 2)
    loaded.load_model(trainer.output_dir)
    weights = epoch_weights(3, 2, 1)
    for name, value in loaded.model.state_dict().items():
        want = sum(weight * state[name] for weight, state in zip(weights, seen, strict=True))
        assert torch.allclose(value, want, rtol=1e-5, atol=1e-8), name
        assert not torch.allclose(value, seen[-1][name], rtol=1e-5, atol=1e-8), name


def test_teacher_is_the_equations(monkeypatch):
    """In float64, over class names of several tokens."""
    monkeypatch.setattr(promptsrc, "TEACHER_TEMPLATES", 7)
    weights = toy.clip_weights(0, vocabulary=49408)
    names = ["dog", "yellow-bellied sapsucker", "inline_skate"]
    clip_model = build_model(weights, torch.float32).double()
    model = promptsrc.PromptSRCModel(clip_model, names, PromptSRCSettings(prompt_depth_vision=1, prompt_depth_text=1))
    double = {name: value.double() for name, value in weights.items()}
    wanted = teacher_of(double, [token_ids(double, template, names) for template in teacher_templates()])
    assert len(teacher_templates()) == 7 and torch.allclose(model.teacher(), wanted, rtol=1e-9, atol=1e-12)


def test_teacher_is_made_of_sixty_templates_and_only_for_training(make_trainer, one_batch):
    templates = teacher_templates()
    assert len(set(templates)) == 60 and templates[:2] == ["a photo of a {}.", "a bad photo of a {}."]
    trainer = make_trainer("PromptSRC")
    trainer.test()
    assert trainer.model._teacher is None
    trainer.epoch, trainer.num_batches = 0, 1000
    trainer.forward_backward(one_batch(trainer))
    kept = trainer.model._teacher
    trainer.forward_backward(one_batch(trainer))
    assert kept is not None and trainer.model._teacher is kept
