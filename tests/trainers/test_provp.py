"""ProVP's prompts, initial values, and which epoch is kept."""

from __future__ import annotations

import pytest
import torch

from clip.model import build_model
from tests.reference import toy
from trainers import provp
from trainers.provp import ProVPModel


def scored(trainer, results):
    """Let the trainer's tests give these results, and note the splits asked for."""
    asked = []

    def test(split=None):
        asked.append(split or "test")
        return results[len(asked) - 1]

    trainer.test = test
    return asked


def test_no_epoch_is_selected_by_default(make_trainer, capsys):
    trainer = make_trainer("ProVP")
    asked = scored(trainer, [50])
    trainer.train()
    assert asked == ["test"] and "Deploy the last-epoch model" in capsys.readouterr().out


def test_selection_on_the_test_set_keeps_its_best_epoch(make_trainer, capsys):
    trainer = make_trainer("ProVP", "TRAINER.PROVP.SELECT_ON_TEST", True)
    asked = scored(trainer, [50, 80, 60, 80])
    after_second = []
    original = trainer.after_epoch
    trainer.after_epoch = lambda: (after_second.append(trainer.model.prompt_embeddings.detach().clone()), original())
    trainer.train()
    assert asked == ["test"] * 4 and "selected, not measured" in capsys.readouterr().out
    assert torch.equal(trainer.model.prompt_embeddings, after_second[1])
    loaded = make_trainer("ProVP", "SEED", 3)
    loaded.load_model(trainer.output_dir)
    assert torch.equal(loaded.model.prompt_embeddings, after_second[1])


def test_two_selections_are_refused(make_trainer):
    with pytest.raises(ValueError, match="^TRAINER.PROVP.SELECT_ON_TEST and TEST.FINAL_MODEL best_val both select"):
        make_trainer("ProVP", "TRAINER.PROVP.SELECT_ON_TEST", True, "TEST.FINAL_MODEL", "best_val")


@pytest.mark.parametrize(
    ("dataset", "own", "prompt"),
    [
        ("OxfordPets", "", "a type of pet, a photo of a yin yang."),
        ("UCF101", "", "a photo of a person doing yin yang."),
        ("OxfordPets", "my {}", "my yin yang"),
    ],
)
def test_prompts(dataset, own, prompt, make_trainer, monkeypatch):
    cfg = make_trainer("ProVP").cfg.clone()
    cfg.merge_from_list(["DATASET.NAME", dataset, "DATASET.TEMPLATE", own])
    seen = []
    monkeypatch.setattr(provp, "ProVPModel", lambda clip_model, prompts, n_ctx, use_ref: seen.extend(prompts))
    provp.ProVP.build_method(cfg, None, ["yin_yang"])
    assert seen == [prompt]


def test_initial_values_are_uniform():
    """sqrt(6 / (3 14^2 + d_v)) is the largest."""
    clip_model = build_model(toy.clip_weights(0, vocabulary=49408), torch.float32)
    values = ProVPModel(clip_model, ["a"], 200).prompt_embeddings
    bound = (6 / (3 * 14 * 14 + 64)) ** 0.5
    assert values.shape == (3, 200, 64) and 0.999 * bound < values.abs().max() <= bound
    assert abs(values.std().item() - bound / 3**0.5) < 1e-3
