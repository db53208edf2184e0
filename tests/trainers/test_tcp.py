"""TCP: its templates, vectors and settings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import train
import trainers
from dassl.config import get_cfg_default
from trainers import tcp

CONFIGS = Path(train.__file__).parent / "configs"


def test_number_of_learned_parameters_is_the_papers():
    """Table 6: 0.332M for ViT-B/16 (331,904)."""
    assert sum(p.numel() for p in tcp.meta_net(512, 512).parameters()) + 4 * 512 == 331_904


@pytest.mark.parametrize(
    ("dataset", "prior", "learned"),
    [
        ("OxfordPets", "a photo of a {}, a type of pet.", "X X X X {}, a type of pet."),
        ("OxfordFlowers", "a photo of a {}, a type of flower.", "X X X X {}, a type of flower."),
        ("Food101", "a photo of a {}, a type of food.", "X X X X {}, a type of food."),
        ("FGVCAircraft", "a photo of an aircraft {}.", "X X X X {}, a type of aircraft."),
        ("DescribableTextures", "a photo of a {}, a type of texture.", "X X X X {} texture."),
        ("EuroSAT", "a centered satellite photo of {}.", "X X X X {}."),
        ("StanfordCars", "a photo of a {}.", "X X X X {}, a type of car"),
        ("UCF101", "a photo of a person doing {}.", "a photo of a person doing {}."),
        ("SUN397", "a photo of a {}.", "X X X X {}."),
        ("Caltech101", "a photo of a {}.", "X X X X {}."),
        ("ImageNetSketch", "a photo of a {}.", "X X X X {}."),
    ],
)
def test_templates_are_the_official_ones(dataset, prior, learned):
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.DATASET.NAME = dataset
    assert tcp.templates_of(cfg) == (prior, learned)
    cfg.DATASET.TEMPLATE = "my {} here"
    assert tcp.templates_of(cfg) == ("my {} here", "X X X X {} here")


def test_adam_divides_by_more(make_trainer):
    groups = make_trainer("TCP", "OPTIM.NAME", "adam").optim.param_groups
    assert [group["eps"] for group in groups] == [1e-3]
    assert [group["eps"] for group in make_trainer("TCP", "OPTIM.NAME", "adamw").optim.param_groups] == [1e-8]


def test_vectors_are_drawn_unless_they_start_from_words(make_trainer):
    drawn, words = make_trainer("TCP"), make_trainer("TCP", "TRAINER.COOP.CTX_INIT", True)
    embedding = words.model.clip_model.token_embedding.weight
    ids = tcp.prompt_tokens(["a photo of a"])[0, 1:5]
    assert torch.equal(words.model.ctx, embedding[ids])
    assert 0.01 < drawn.model.ctx.std() < 0.03
