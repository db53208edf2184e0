"""MaPLe, PromptSRC, ProVP and MetaPrompt: official numbers and settings, initial values, what is refused."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch

import train
import trainers
from clip import tokenize
from clip.model import build_model
from reference.shared import toy
from runs import config

CONFIGS = Path(train.__file__).parent / "configs"
SRC = "vit_b16_c2_ep%d_batch4_4+4ctx"
METHODS = ["MaPLe", "PromptSRC", "ProVP", "Meta_B2N"]
WORDS = ["dog", "x", "polka-dotted", "inline_skate", "zebra", "yellow-bellied sapsucker", "a", "photo of"]
TEMPLATES = ["a photo of a {}.", "the {} here.", "{}"]


@lru_cache(maxsize=4)
def clips(seed, vision, text):
    """A toy CLIP of these depths with the real vocabulary in float64, and its weights."""
    weights = toy.clip_weights(seed, vision=(64, vision), text=(64, text), vocabulary=49408)
    double = {name: value.double() for name, value in weights.items()}
    return build_model(weights, torch.float32).double().requires_grad_(False), double


def ids(template, names, spoken=True):
    return tokenize([template.format(name.replace("_", " ") if spoken else name) for name in names]).long()


@pytest.mark.parametrize(
    ("method", "stem", "published"),
    [
        ("MaPLe", "vit_b16_c2_ep5_batch4_2ctx", 3_555_072),
        ("PromptSRC", "vit_b16_c2_ep20_batch4_4+4ctx", 46_080),
        ("ProVP", "vit_b16_b2n_ep100", 147_456),
        ("Meta_B2N", "vit_b16", 30_720),
    ],
)
def test_number_of_learned_parameters_is_the_published_one(method, stem, published):
    """Table 6: 3.555M, 0.046M, 0.147M and 0.031M, with the official settings on ViT-B/16."""
    cfg = resolved(method, stem, "caltech101")
    model = trainers.load(method).build_method(cfg, full_size(), ["face"])
    assert sum(value.numel() for value in model.parameters()) == published


@lru_cache(maxsize=1)
def full_size():
    """A CLIP of ViT-B/16's widths and depths."""
    return build_model(toy.clip_weights(0, vision=(768, 12), text=(512, 12), vocabulary=49408), torch.float32)


def resolved(method, stem, dataset):
    path = CONFIGS / f"trainers/{method}/{stem}.yaml"
    words = ["--dataset-config-file", str(CONFIGS / f"datasets/{dataset}.yaml"), "--config-file", str(path)]
    return config.build_cfg(train.parse_args([*words, "--trainer", method]))


@pytest.mark.parametrize(
    ("method", "stem", "task", "numbers", "node"),
    [
        ("MaPLe", "vit_b16_c2_ep5_batch4_2ctx", "B2N", (0.0035, 5, 4, 5e-4), {"PROMPT_DEPTH": 9, "N_CTX": 2}),
        ("MaPLe", "vit_b16_c2_ep5_batch4_2ctx_cross_datasets", "CD", (0.0026, 2, 4, 5e-4), {"PROMPT_DEPTH": 3}),
        ("PromptSRC", SRC % 20, "B2N", (0.0025, 20, 4, 5e-4), {"PROMPT_DEPTH_TEXT": 9, "GPA_MEAN": 15, "GPA_STD": 1}),
        (
            *("PromptSRC", f"{SRC % 20}_cross_datasets", "CD", (0.0025, 20, 4, 5e-4)),
            {"PROMPT_DEPTH_VISION": 3, "PROMPT_DEPTH_TEXT": 3, "GPA_MEAN": 6, "GPA_STD": 10},
        ),
        ("PromptSRC", f"{SRC % 50}_few_shot", "FS", (0.0025, 50, 4, 5e-4), {"GPA_MEAN": 30, "GPA_STD": 30}),
        ("PromptSRC", f"{SRC % 50}_few_shot_gpa45", "FS", (0.0025, 50, 4, 5e-4), {"GPA_MEAN": 45, "GPA_STD": 5}),
        ("ProVP", "vit_b16_b2n_ep100", "B2N", (0.1, 100, 32, 1e-3), {"N_CTX": 16, "USE_REF": True}),
        ("ProVP", "vit_b16_img", "B2N", (5.0, 100, 32, 5e-3), {"N_CTX": 16, "USE_REF": True}),
        ("ProVP", "vit_b16", "FS", (0.1, 200, 32, 5e-4), {"N_CTX": 50, "USE_REF": True}),
        ("ProVP", "vit_b16_ref", "FS", (0.1, 200, 32, 5e-4), {"N_CTX": 50, "USE_REF": True}),
        ("ProVP", "vit_b16_lam", "FS", (0.1, 200, 32, 5e-4), {"N_CTX": 50, "USE_REF": True}),
        ("ProVP", "vit_b16_ref_ep100", "FS", (0.1, 100, 32, 5e-4), {"N_CTX": 50, "USE_REF": True}),
        ("ProVP", "vit_b16_ref_ep50", "CD", (0.1, 50, 32, 1e-3), {"USE_REF": True, "SELECT_ON_TEST": False}),
        ("ProVP", "vit_b16_ep100", "FS", (0.1, 100, 32, 5e-4), {"N_CTX": 50, "USE_REF": False}),
        ("ProVP", "vit_b16_ep50", "FS", (0.1, 50, 32, 5e-4), {"N_CTX": 50, "USE_REF": False}),
        ("Meta_B2N", "vit_b16", "B2N", (0.0015, 8, 16, 5e-4), {"N_CTX": 2, "N_PRO": 2, "LAYERS": 12, "META_STEP": 0.2}),
    ],
)
def test_settings_are_the_official_ones(method, stem, task, numbers, node):
    cfg = resolved(method, stem, "imagenet")
    optim = cfg.OPTIM
    assert (optim.LR, optim.MAX_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, optim.WEIGHT_DECAY) == numbers
    assert (cfg.TASK, optim.NAME, optim.LR_SCHEDULER, optim.MOMENTUM) == (task, "sgd", "cosine", 0.9)
    assert (optim.WARMUP_EPOCH, optim.WARMUP_TYPE, optim.WARMUP_CONS_LR) == (1, "constant", 1e-5)
    assert cfg.INPUT.RRCROP_SCALE == (0.08, 1.0)
    assert cfg.TEST.FINAL_MODEL == ("best_val" if method == "ProVP" else "last_step")
    assert cfg.DATALOADER.TEST.BATCH_SIZE == (512 if method == "ProVP" else 100)
    found = trainers.load(method).settings_of(cfg).values()
    assert found["PREC"] == "fp16" and {key: found[key] for key in node} == node


def test_initial_values_of_maple(make_trainer):
    """Words of CTX_INIT; one Linear for all deeper layers, another for the first; deeper tokens N(0, 0.02^2)."""
    learner = make_trainer("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", 3, "TRAINER.MAPLE.N_CTX", 2).model.prompt_learner
    model = make_trainer("MaPLe").model
    words = model.clip_model.token_embedding(tokenize(["a photo"])[0, 1:3])
    assert torch.equal(model.prompt_learner.ctx, words)
    first, second = learner.compound_prompt_projections
    assert torch.equal(first.weight, second.weight) and first.weight.data_ptr() != second.weight.data_ptr()
    assert not torch.equal(learner.proj.weight, first.weight) and first.weight.abs().max() <= 64**-0.5
    drawn = make_trainer("MaPLe", "TRAINER.MAPLE.N_CTX", 50).model.prompt_learner
    for value in (drawn.ctx, *drawn.compound_prompts_text):
        assert abs(value.std().item() - 0.02) < 1e-3
