"""Zero-shot CLIP: its prompts."""

from __future__ import annotations

import pytest

import trainers
from dassl.config import get_cfg_default
from trainers import zsclip

SEVEN = {"itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}."}
SEVEN |= {"a {} in a video game.", "art of the {}.", "a photo of the small {}."}


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
