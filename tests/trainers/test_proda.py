"""ProDA: the bound, the turns of the prompts, and settings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from clip.model import CLIP
from trainers.proda import ProDAModel, mean_cosine, positions_of, prompts_of_step

CONFIGS = Path(train.__file__).parent / "configs"


def test_the_bound_is_one():
    """E[CE] over Gaussian features with the covariance of the equations stays below the loss's cross-entropy."""
    torch.manual_seed(0)
    clip_model = CLIP(8, 16, 1, 64, 8, 77, 49408, 64, 1, 1)
    model = ProDAModel(clip_model, ["cat", "dog", "bird"], 4, 2, 4)
    f = torch.nn.functional.normalize(torch.randn(2, 8), dim=-1)
    w = torch.nn.functional.normalize(torch.randn(1, 3, 8) + 0.1 * torch.randn(4, 3, 8), dim=-1)
    labels = torch.tensor([0, 2])
    scale, mean = clip_model.logit_scale.exp(), w.mean(dim=0)
    with torch.no_grad():
        bound = torch.nn.functional.cross_entropy(scale * f @ mean.t() + model.spread(f, w, labels), labels)
    draws = torch.randn(20_000, 4, 8) / 5**0.5  # per dimension one factor for each of the four deviations
    features = mean + torch.einsum("skd,kcd->scd", draws, w - mean)
    logits = scale * torch.einsum("bd,scd->sbc", f, features)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))
    assert scale * (f * mean[labels]).sum(-1).mean() != 0 and 0 < bound - expected < bound


def test_number_and_places_of_the_prompts():
    """Card: 32 prompts of 16 vectors, 262,144 numbers; 8 names in front, 8 in the middle, 16 at the end."""
    assert Counter(positions_of(32)) == {"front": 8, "middle": 8, "end": 16}
    assert positions_of(1) == ["end"] and positions_of(4) == ["front", "middle", "end", "end"]
    model = ProDAModel(CLIP(8, 16, 1, 64, 8, 77, 49408, 512, 8, 1), ["cat"])
    assert list(model.state_dict()) == ["ctx"] and model.ctx.shape == (32, 16, 512) and model.ctx.numel() == 262_144
    assert abs(model.ctx.std().item() - 0.02) < 1e-3


@settings(max_examples=30, deadline=None)
@given(at_once=st.integers(1, 5), turns=st.integers(1, 6), cycle=st.integers(0, 9), seed=st.integers(0, 10**6))
def test_every_prompt_has_its_turn(at_once, turns, cycle, seed):
    count = at_once * turns
    steps = range(cycle * turns, (cycle + 1) * turns)
    drawn = [prompts_of_step(step, count, at_once, seed) for step in steps]
    assert all(len(which) == at_once for which in drawn) and sorted(sum(drawn, [])) == list(range(count))


def test_order_changes():
    orders = [sum((prompts_of_step(c * 8 + i, 32, 4, seed) for i in range(8)), []) for seed in (1, 2) for c in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_mean_cosine():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
    assert mean_cosine(rows).item() == pytest.approx((0 + 0.6 + 0.8) * 2 / 6)
    assert mean_cosine(rows[:1]).item() == 0


def test_steps_take_turns_and_a_killed_run_ends_alike(make_trainer, monkeypatch):
    options = ["ProDA", "TRAINER.PRODA.N_PROMPT", 8, "TRAINER.PRODA.PROMPT_BS", 2, "TRAIN.RESUME_FREQ", 1]
    whole = make_trainer(*options, "OUTPUT_DIR", make_trainer(*options).output_dir + "-whole")
    used = []
    real = whole.compute_loss
    whole.compute_loss = lambda *batch: used.append(whole.model.chosen) or real(*batch)
    whole.train()
    assert len(used) == 15 and sorted(sum(used[:4], [])) == list(range(8)) and used[4:8] != used[:4]
    killed = make_trainer(*options)
    step = killed.forward_backward

    def forward_backward(batch):
        if (killed.epoch, killed.batch_idx) == (1, 2):
            raise KeyboardInterrupt
        return step(batch)

    monkeypatch.setattr(killed, "forward_backward", forward_backward)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = make_trainer(*options)
    resumed.train()
    assert torch.equal(resumed.model.ctx, whole.model.ctx)
