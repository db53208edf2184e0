"""MMRL++: its sizes, initial values and settings, beta of a target, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import train
from clip.model import CLIP, build_model
from reference.shared import toy
from tests.runs.resolved import resolve
from trainers.mmrlpp import LowRank, MMRLppModel, SharedLearner
from trainers.settings import MMRLppSettings

CONFIGS = Path(train.__file__).parent / "configs"


def settings_of(layers, rep_dim=8, k=2, alpha=0.7, weight=2.0, beta=0.6, rank=3, fusion="logits"):
    return MMRLppSettings(
        alpha, weight, tuple(layers), rep_dim, k, fusion, beta=beta, res_lora_dim=rank, proj_lora_dim=rank + 1
    )


def test_number_of_learned_parameters():
    """813,312 for ViT-B/16 at the release's settings."""
    with torch.device("meta"):
        clip_model = CLIP(512, 224, 12, 768, 16, 77, 100, 512, 8, 12)
        parts = MMRLppModel.learned(
            MMRLppSettings(0.7, 0.2, tuple(range(6, 13)), 512, 5, beta=0.9, res_lora_dim=4, proj_lora_dim=64),
            clip_model,
        )
    assert sum(p.numel() for part in parts for p in part.parameters()) == 813_312


def test_initial_values():
    """All layers start with one map: A differs, B is zero, the biases are copies; A is uniform in +-rank^-0.5."""
    torch.manual_seed(0)
    learner = SharedLearner(settings_of((1, 2, 3), rep_dim=512, k=50, rank=4), 256, 128)
    assert abs(learner.compound_rep_tokens.std().item() - 0.02) < 5e-4
    for shared in (learner.srra_r2vproj, learner.srra_r2tproj):
        tokens = shared(learner.compound_rep_tokens)
        assert torch.equal(tokens[0], tokens[2])
        assert not torch.equal(shared.srra[0].A, shared.srra[1].A)
        assert 0.45 < shared.srra[0].A.abs().max() <= 0.5 and shared.weight.abs().max() <= 512**-0.5
        assert shared.srra[0].bias.abs().max() <= 512**-0.5 and shared.srra[0].bias.std() > 0.01
    projection = LowRank(768, 512, 64)
    assert projection.B.count_nonzero() == 0 and 0.12 < projection.A.abs().max() <= 0.125


def test_representation_projection_starts_as_clips_own():
    weights = toy.clip_weights(0, vocabulary=49408)
    model = MMRLppModel(build_model(weights, torch.float32), ["a dog"], settings_of((2, 3)))
    assert torch.equal(model.rep_projection(), weights["visual.proj"])


def test_beta_of_a_target_is_the_trainings_unless_asked(make_trainer, capsys):
    pairs = ["TASK", "CD", "TRAINER.MMRLpp.TARGET_BETA", [["Digits", 0.3]], "TRAINER.MMRLpp.BETA_AT_TEST", "target"]
    trainer = make_trainer("MMRLpp", *pairs)
    used = []
    compute = trainer.model.class_features
    trainer.model.class_features = lambda: used.append(trainer.model.beta) or compute()
    trainer.test()  # the source
    trainer.trained_on = "ImageNet"
    trainer.test()
    assert used == [0.9, 0.3] and trainer.model.beta == 0.9
    assert "Beta 0.3 of Digits (chosen on the target; 0.9 in training)" in capsys.readouterr().out
    assert make_trainer("MMRLpp", *pairs[:4]).beta_at_test() == 0.9
    trainer = make_trainer("MMRLpp", *pairs[:2], *pairs[4:])
    trainer.trained_on = "ImageNet"
    with pytest.raises(
        ValueError, match="TARGET_BETA lists no beta for Digits: add one or set .*BETA_AT_TEST training$"
    ):
        trainer.test()


def test_beta_and_lambda_per_dataset_are_the_releases():
    listed = {
        **{"imagenet": (0.9, 0.2), "fgvc_aircraft": (0.9, 2), "ucf101": (0.9, 3), "dtd": (0.9, 7)},
        **{"oxford_pets": (0.7, 0.01), "stanford_cars": (0.7, 6), "caltech101": (0.6, 3), "sun397": (0.5, 3)},
        **{"oxford_flowers": (0.4, 7), "eurosat": (0.2, 0.01), "food101": (0.1, 1)},
    }
    for dataset, pair in listed.items():
        for stem in ("vit_b16", "vit_b16_few_shot"):
            node = resolve("MMRLpp", stem, dataset).TRAINER.MMRLpp
            assert (node.BETA, node.REG_WEIGHT, node.REP_DIM) == (*pair, 512), dataset
    for stem, targets in (("vit_b16", 0), ("vit_b16_cross_datasets", 14)):
        assert len(resolve("MMRLpp", stem, "imagenet").TRAINER.MMRLpp.TARGET_BETA) == targets
