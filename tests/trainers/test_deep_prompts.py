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
from tests.runs.resolved import resolve

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
    cfg = resolve(method, stem, "caltech101")
    model = trainers.load(method).build_method(cfg, full_size(), ["face"])
    assert sum(value.numel() for value in model.parameters()) == published


@lru_cache(maxsize=1)
def full_size():
    """A CLIP of ViT-B/16's widths and depths."""
    return build_model(toy.clip_weights(0, vision=(768, 12), text=(512, 12), vocabulary=49408), torch.float32)


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
