"""CLIP-Adapter: its size and settings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import torch

import train
from clip.model import CLIP
from runs import config
from trainers.clipadapter import CLIPAdapterModel

CONFIGS = Path(train.__file__).parent / "configs"


def test_published_numbers_of_parameters():
    """The bottleneck of RN50 (d = 1024) and of ViT-B/16 (d = 512)."""
    for width, count in ((1024, 524_288), (512, 131_072)):
        model = CLIPAdapterModel(CLIP(8, 16, 1, 64, 8, 77, 62, 64, 1, 1), torch.zeros(2, width))
        assert sum(value.numel() for value in model.parameters()) == count
        assert list(model.state_dict()) == ["fc.0.weight", "fc.2.weight"]
        assert model.fc[0].weight.abs().max() <= width**-0.5


def build(method, stem, dataset, *options):
    words = ["--dataset-config-file", str(CONFIGS / f"datasets/{dataset}.yaml"), "--trainer", method]
    words += ["--config-file", str(CONFIGS / f"trainers/{method}/{stem}.yaml"), *options]
    return config.build_cfg(train.parse_args(words))


def test_settings():
    cfg = build("CLIPAdapter", "vit_b16_c4_ep200_batch32", "dtd")
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.WARMUP_CONS_LR) == ("sgd", 0.002, 200, 1e-5)
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.INPUT.RRCROP_SCALE) == (32, (0.08, 1.0))
    assert dict(cfg.TRAINER.CLIPADAPTER) == {"RATIO": 0.2, "REDUCTION": 4, "PREC": "fp32"}
    assert build("CLIPAdapter", "rn50_ep50", "dtd").OPTIM.MAX_EPOCH == 50


def test_official_registry_name():
    cfg = build("CLIPAdapter", "embedded", "digits", "TRAINER.NAME", "CLIP_Adapter")
    assert cfg.TRAINER.NAME == "CLIPAdapter"
