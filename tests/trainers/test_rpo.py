"""RPO: initial values, prompts and settings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import train
import trainers
from clip.model import build_model
from dassl.config import get_cfg_default
from reference.shared import toy
from tests.agreement import setting_of
from tools import golden
from trainers import rpo
from trainers.rpo import RPOModel

CONFIGS = Path(train.__file__).parent / "configs"


def model_over(ids, weights, pairs):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(rpo, "prompt_tokens", lambda prompts: ids)
        return RPOModel(build_model(weights, torch.float32).double(), ["unused"] * len(ids), pairs).double()


def test_initial_values():
    """Each prompt lies 0.1 from EOT's embedding, or from the class token's; 30,720 numbers at K = 24 on ViT-B/16."""
    weights = toy.clip_weights(0)
    model = model_over(toy.prompt_ids([[3]], [4], []), weights, 5)
    for value, start in (
        (model.text_prompt, weights["token_embedding.weight"][toy.EOT]),
        (model.img_prompt, weights["visual.class_embedding"]),
    ):
        noise = value - start
        assert torch.allclose(noise.norm(dim=-1), torch.full((5,), 0.1, dtype=torch.float64))
        assert (noise[0] - noise[1]).norm() > 0.05
    assert sum(rpo._around(torch.zeros(width), torch.ones(24, width)).numel() for width in (512, 768)) == 30_720


def test_golden_numbers_of_another_prompt_are_refused():
    with pytest.raises(ValueError, match="^prompt is 'a _.': a run of RPO has 'a photo of a _.'$"):
        golden.numbers_of(setting_of("rpo_tiny") | {"prompt": "a _."})


def test_class_names_stay_raw(monkeypatch):
    seen = []
    original = rpo.prompt_tokens
    monkeypatch.setattr(rpo, "prompt_tokens", lambda prompts: seen.extend(prompts) or original(prompts))
    clip_model = build_model(toy.clip_weights(0, vocabulary=49408), torch.float32)
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.TRAINER.NAME = "RPO"
    for cfg.DATASET.TEMPLATE in ("", "my {}"):
        rpo.RPO.build_method(cfg, clip_model, ["yin_yang"])
    assert seen == ["a photo of a yin_yang.", "my yin_yang"]
