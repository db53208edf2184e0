"""ProVP's prompts, initial values, and which epoch is kept."""

from __future__ import annotations

import pytest
import torch

from clip.model import build_model
from reference.shared import toy
from trainers import provp
from trainers.provp import ProVPModel

BEST = ("TEST.FINAL_MODEL", "best_val")


def scored(trainer, results):
    """Let the trainer's tests give these results, and note the images that they were asked of."""
    asked = []

    def test(split=None):
        loader = trainer.test_loader if split != "val" or trainer.val_loader is None else trainer.val_loader
        asked.append({item.impath for item in loader.dataset.data_source})
        return results[len(asked) - 1]

    trainer.test = test
    return asked


def paths(items):
    return {item.impath for item in items}


def test_last_epoch_without_a_selection(make_trainer, capsys):
    trainer = make_trainer("ProVP")
    asked = scored(trainer, [50])
    trainer.train()
    assert asked == [paths(trainer.dm.dataset.test)] and "Deploy the last-epoch model" in capsys.readouterr().out


@pytest.mark.parametrize("on_test", [False, True])
def test_the_best_epoch_is_kept(on_test, make_trainer, capsys):
    """On validation images by default, which neither training nor the test has; officially on the test set."""
    trainer = make_trainer("ProVP", *BEST, "TRAINER.PROVP.SELECT_ON_TEST", on_test)
    asked = scored(trainer, [50, 80, 60, 80])
    after_epochs = []
    original = trainer.after_epoch
    trainer.after_epoch = lambda: (after_epochs.append(trainer.model.prompt_embeddings.detach().clone()), original())
    trainer.train()
    dataset = trainer.dm.dataset
    chosen_on = dataset.test if on_test else dataset.val
    assert asked == [paths(chosen_on)] * 3 + [paths(dataset.test)] and len(dataset.val) == 20
    assert not paths(dataset.val) & (paths(dataset.test) | paths(dataset.train_x))
    assert ("selected, not measured" in capsys.readouterr().out) == on_test
    assert torch.equal(trainer.model.prompt_embeddings, after_epochs[1])
    loaded = make_trainer("ProVP", "SEED", 3)
    loaded.load_model(trainer.output_dir)
    assert torch.equal(loaded.model.prompt_embeddings, after_epochs[1])


def test_where_validation_is_the_test_set_unused_training_images_serve(make_trainer):
    """As ImageNet has it."""
    trainer = make_trainer("ProVP", *BEST)
    dataset = trainer.dm.dataset
    dataset._val = dataset.test
    asked = scored(trainer, [50] * 4)
    trainer.train()
    assert len(asked[0]) == 20 and not asked[0] & (paths(dataset.test) | paths(dataset.train_x))


def test_without_images_to_choose_on_it_says_what_to_do(make_trainer, monkeypatch):
    def nothing(*_, **__):
        raise ValueError("Digits has no validation images")

    monkeypatch.setattr(provp, "validation_images", nothing)
    with pytest.raises(ValueError, match="^Digits has no validation images; TEST.FINAL_MODEL last_step keeps the last"):
        make_trainer("ProVP", *BEST).train()


def test_selection_on_the_test_set_needs_a_selection(make_trainer):
    with pytest.raises(ValueError, match="^TRAINER.PROVP.SELECT_ON_TEST .* it needs TEST.FINAL_MODEL best_val, not la"):
        make_trainer("ProVP", "TRAINER.PROVP.SELECT_ON_TEST", True)


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
