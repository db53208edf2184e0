"""MMRL++: against the plain reference, the authors' numbers, their checkpoints and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import train
from clip.model import CLIP, build_model
from runs import config
from tests.reference import toy
from tests.reference.agreement import golden_agrees, loss_and_gradients_agree
from tests.reference.plain_mmrlpp import PlainMMRLpp
from trainers.mmrl import method as mmrl
from trainers.mmrlpp import LowRank, MMRLppModel, SharedLearner
from trainers.settings import MMRLppSettings

CONFIGS = Path(train.__file__).parent / "configs"
word = st.integers(1, 59)
names = st.lists(st.lists(word, min_size=1, max_size=6), min_size=1, max_size=6)


def settings_of(layers, rep_dim=8, k=2, alpha=0.7, weight=2.0, beta=0.6, rank=3, fusion="logits"):
    return MMRLppSettings(
        alpha, weight, tuple(layers), rep_dim, k, fusion, beta=beta, res_lora_dim=rank, proj_lora_dim=rank + 1
    )


@settings(max_examples=20, deadline=None)
@given(
    names=names,
    before=st.lists(word, max_size=4),
    after=st.lists(word, max_size=3),
    depths=st.tuples(st.integers(1, 4), st.integers(0, 3)),
    k=st.integers(1, 4),
    beta=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10),
)
@example([[1, 2], [3], [4, 5, 6]], [8, 9], [7], (4, 2), 2, 0.3, 2, 0)
def test_float64_equals_the_equations(names, before, after, depths, k, beta, batch, seed):
    depth, skipped = depths
    first = max(1, depth - skipped)
    cfg = settings_of(range(first, depth + 1), k=k, beta=beta)
    torch.manual_seed(seed)
    weights = toy.clip_weights(seed, vision=(64, depth), text=(64, depth))
    ids = toy.prompt_ids(names, before, after)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(mmrl, "prompt_tokens", lambda prompts: ids)
        clip_model = build_model(weights, torch.float32).double()
        model = MMRLppModel(clip_model, ["unused"] * len(ids), cfg).double()
    for name, value in model.named_parameters():
        if name.endswith(".B"):
            torch.nn.init.normal_(value, std=0.3)  # at zero A would have no gradient
    images, labels = torch.randn(batch, 3, 16, 16, dtype=torch.float64), torch.randint(len(names), (batch,))
    learned = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    double = {name: value.double() for name, value in weights.items()}
    plain = PlainMMRLpp(double, ids, first, cfg.alpha, cfg.reg_weight, beta=beta)
    want = plain.loss(learned, images, labels)
    want.backward()
    loss, scores = model.loss(images, labels)
    loss.backward()
    # Text maps of layers after J have no gradient where beta is 0, nor have others where the tokens cannot matter.
    loss_and_gradients_agree(loss, model, want, learned, unseen=True)
    with torch.no_grad():
        f = plain.features(learned, images)
        alone, rep = 100 * f["f_c"] @ f["w"].t(), 100 * f["f_r"] @ f["w"].t()
        both = cfg.alpha * alone + (1 - cfg.alpha) * rep
        features = model.class_features()
        assert torch.allclose(scores, both) and torch.allclose(model.scores(images, features), both)
        model.use_classes(seen=False)
        assert torch.allclose(model.scores(images, features), alone)


def test_golden():
    """The authors' public code on the same weights (float32): features 1e-4, losses 1e-5, gradients 1e-3."""
    golden_agrees("mmrlpp", losses=1e-5)


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


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["BETA", 1.5], "BETA must lie in [0, 1], not 1.5"),
        (["RES_LORA_DIM", 0], "RES_LORA_DIM must be at least 1, not 0"),
        (["PROJ_LORA_DIM", 0], "PROJ_LORA_DIM must be at least 1, not 0"),
        (["REP_LAYERS", [4]], "REP_LAYERS starts at layer 4, but the image tower has layers 1 to 3"),
        (["ALPHA", -1.0], "ALPHA must lie in [0, 1], not -1.0"),
        (["BETA_AT_TEST", "best"], "BETA_AT_TEST must be training or target, not 'best'"),
        (["TARGET_BETA", [["A", 2]]], "TARGET_BETA holds pairs of a dataset and a beta in [0, 1], not ['A', 2]"),
    ],
)
def test_settings_out_of_range_are_refused(options, line, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer("MMRLpp", f"TRAINER.MMRLpp.{options[0]}", options[1])
    assert str(caught.value) == f"TRAINER.MMRLpp.{line}"


def test_official_checkpoint_loads(make_trainer, tmp_path):
    """The whole model's state dict and the prompts of the classes trained on, as the release keeps them."""
    trainer, other = make_trainer("MMRLpp"), make_trainer("MMRLpp", "SEED", 5)
    clip_model = trainer.model.clip_model
    state = {f"image_encoder.{k}": v for k, v in clip_model.visual.state_dict().items()}
    state |= {f"text_encoder.{k}": v for k, v in clip_model.transformer.state_dict().items()}
    state |= trainer.model.state_dict() | {"logit_scale": torch.tensor(4.6)}
    state["representation_learner.prompt_embeddings"] = torch.zeros(99, 77, 64)
    path = tmp_path / "MultiModalRepresentationLearner" / "model.pth.tar-10"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": state, "epoch": 10}, path)
    other.load_model(str(tmp_path), epoch=10)
    assert all(torch.equal(value, other.model.state_dict()[name]) for name, value in trainer.model.state_dict().items())
    torch.save({"state_dict": state | {"image_encoder.proj_rep": torch.zeros(1)}, "epoch": 10}, path)
    with pytest.raises(ValueError, match="image_encoder.proj_rep is unknown$"):
        other.load_model(str(tmp_path), epoch=10)


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


def build(dataset, stem):
    words = ["--dataset-config-file", str(CONFIGS / f"datasets/{dataset}.yaml"), "--trainer", "MMRLpp"]
    return config.build_cfg(train.parse_args([*words, "--config-file", str(CONFIGS / f"trainers/MMRLpp/{stem}.yaml")]))


@pytest.mark.parametrize(
    ("stem", "task", "rate", "epochs", "batch", "warmup"),
    [
        ("vit_b16", "B2N", 0.001, 10, 4, 1),
        ("vit_b16_imagenet", "B2N", 0.001, 5, 32, 1),
        ("vit_b16_few_shot", "FS", 0.002, 100, 32, 1),
        ("vit_b16_cross_datasets", "CD", 0.001, 1, 32, 0),
    ],
)
def test_settings_are_the_releases(stem, task, rate, epochs, batch, warmup):
    cfg = build("imagenet", stem)
    assert (cfg.TASK, cfg.OPTIM.MAX_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == (task, epochs, batch)
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.LR_SCHEDULER) == ("adamw", rate, "cosine")
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WEIGHT_DECAY, cfg.INPUT.RRCROP_SCALE) == (warmup, 5e-4, (0.5, 1.0))
    node = cfg.TRAINER.MMRLpp
    assert (node.ALPHA, node.REP_LAYERS, node.REP_DIM, node.N_REP_TOKENS) == (0.7, [6, 7, 8, 9, 10, 11, 12], 512, 5)
    assert (node.RES_LORA_DIM, node.PROJ_LORA_DIM, node.PREC, node.FUSION) == (4, 64, "amp", "logits")
    assert (node.BETA, node.REG_WEIGHT) == ((0.9, 0.1) if task == "CD" else (0.9, 0.2))
    assert node.BETA_AT_TEST == "training" and len(node.TARGET_BETA) == (14 if task == "CD" else 0)


def test_beta_and_lambda_per_dataset_are_the_releases():
    listed = {
        **{"imagenet": (0.9, 0.2), "fgvc_aircraft": (0.9, 2), "ucf101": (0.9, 3), "dtd": (0.9, 7)},
        **{"oxford_pets": (0.7, 0.01), "stanford_cars": (0.7, 6), "caltech101": (0.6, 3), "sun397": (0.5, 3)},
        **{"oxford_flowers": (0.4, 7), "eurosat": (0.2, 0.01), "food101": (0.1, 1)},
    }
    for dataset, pair in listed.items():
        for stem in ("vit_b16", "vit_b16_few_shot"):
            node = build(dataset, stem).TRAINER.MMRLpp
            assert (node.BETA, node.REG_WEIGHT, node.REP_DIM) == (*pair, 512), dataset
