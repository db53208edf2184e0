"""Zero-shot CLIP: exactness, and its prompts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trainers
from clip.model import build_model
from dassl.config import get_cfg_default
from reference.shared import toy
from reference.zsclip import PlainZSCLIP
from trainers import zsclip
from trainers.zsclip import ZeroshotModel

SEVEN = {"itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}."}
SEVEN |= {"a {} in a video game.", "art of the {}.", "a photo of the small {}."}
names = st.lists(st.lists(st.integers(1, 59), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None)
@given(names=names, templates=st.integers(1, 3), batch=st.integers(1, 3), seed=st.integers(0, 10))
def test_float64_equals_the_equations(names, templates, batch, seed):
    torch.manual_seed(seed)
    weights = toy.clip_weights(seed)
    ids = [toy.prompt_ids(names, [5 + i], [7]) for i in range(templates)]
    plain = PlainZSCLIP({name: value.double() for name, value in weights.items()}, ids)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(zsclip, "prompt_tokens", lambda prompts: ids[int(prompts[0])])
        clip_model = build_model(weights, torch.float32).double()
        model = ZeroshotModel(clip_model, [""], [f"{i}{{}}" for i in range(templates)])
    images = torch.randn(batch, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        scores = model.scores(images, model.class_features())
    assert torch.allclose(scores, plain.logits(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("dataset", "own"),
    [
        ("ImageNet", "a photo of a {}."),
        ("ImageNetV2", "a photo of a {}."),
        ("DescribableTextures", "{} texture."),
        ("Food101", "a photo of {}, a type of food."),
    ],
)
def test_prompts(dataset, own):
    """Seven beside the data set's own, which ImageNet's ensemble alone leaves out; two builds give the same ones."""
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.DATASET.NAME = dataset
    assert zsclip.ZeroshotCLIP.templates(cfg) == [own]
    for _ in range(2):
        found = zsclip.ZeroshotCLIP2.templates(cfg)
        assert found[7:] == ([] if dataset == "ImageNet" else [own]) and set(found[:7]) == SEVEN
