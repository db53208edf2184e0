"""CLIP-Adapter: its size and settings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import torch

import train
from clip.model import CLIP
from tests.runs.resolved import resolve
from trainers.clipadapter import CLIPAdapterModel

CONFIGS = Path(train.__file__).parent / "configs"


def test_published_numbers_of_parameters():
    """The bottleneck of RN50 (d = 1024) and of ViT-B/16 (d = 512)."""
    for width, count in ((1024, 524_288), (512, 131_072)):
        model = CLIPAdapterModel(CLIP(8, 16, 1, 64, 8, 77, 62, 64, 1, 1), torch.zeros(2, width))
        assert sum(value.numel() for value in model.parameters()) == count
        assert list(model.state_dict()) == ["fc.0.weight", "fc.2.weight"]
        assert model.fc[0].weight.abs().max() <= width**-0.5


def test_official_registry_name():
    cfg = resolve("CLIPAdapter", "embedded", "digits", "TRAINER.NAME", "CLIP_Adapter")
    assert cfg.TRAINER.NAME == "CLIPAdapter"
