"""Optimisers and learning-rate curves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer


def optim_cfg(**changes):
    cfg = get_cfg_default().OPTIM
    for key, value in changes.items():
        assert key in cfg
        cfg[key] = value
    return cfg


def build(cfg):
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.zeros(2)
    optimizer = build_optimizer([weight], cfg)
    return optimizer, build_lr_scheduler(optimizer, cfg)


def rates(optimizer, scheduler, epochs: int) -> list[float]:
    curve = []
    for _ in range(epochs):
        curve.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return curve


def curve(epochs: int, **changes) -> list[float]:
    return rates(*build(optim_cfg(**changes)), epochs)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.sampled_from(["sgd", "adamw"]), st.floats(1e-4, 1.0))
def test_cosine_after_constant_warmup(epochs: int, name: str, lr: float) -> None:
    got = curve(
        epochs, NAME=name, LR=lr, LR_SCHEDULER="cosine", MAX_EPOCH=epochs, WARMUP_EPOCH=1, WARMUP_TYPE="constant"
    )
    expected = [1e-5] + [lr / 2 * (1 + math.cos(math.pi * (e - 1) / epochs)) for e in range(1, epochs)]
    assert got == pytest.approx(expected, rel=1e-9)


def test_pinned_curves() -> None:
    cosine = {"LR": 1.0, "LR_SCHEDULER": "cosine", "MAX_EPOCH": 4}
    assert curve(5, **cosine) == pytest.approx([1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6)
    assert curve(1, LR=0.5, LR_SCHEDULER="cosine", MAX_EPOCH=1) == [0.5]
    assert curve(2, **{**cosine, "MAX_EPOCH": 2}, WARMUP_EPOCH=1, WARMUP_TYPE="constant") == [1e-5, 1.0]
    linear = curve(6, **cosine, WARMUP_EPOCH=3, WARMUP_TYPE="linear")
    assert linear == pytest.approx([1e-5, 1 / 3, 2 / 3, 1.0, 0.853553, 0.5], abs=1e-6)
    # Without recount the cosine is entered one epoch in; its recursion starts there from the full rate.
    late = curve(3, **cosine, WARMUP_EPOCH=1, WARMUP_TYPE="constant", WARMUP_RECOUNT=False)
    assert late == pytest.approx([1e-5, 1.0, 1.0 / (1 + math.cos(math.pi / 4))], rel=1e-6)


def test_pinned_steps() -> None:
    assert curve(5, LR=1.0, STEPSIZE=(2,)) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert curve(4, LR=1.0, STEPSIZE=(-1,), MAX_EPOCH=3) == pytest.approx([1, 1, 1, 0.1])
    assert curve(5, LR=1.0, LR_SCHEDULER="multi_step", STEPSIZE=(1, 3)) == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])
    warm = {"LR": 1.0, "STEPSIZE": (3,), "WARMUP_EPOCH": 1, "WARMUP_TYPE": "constant"}
    assert curve(5, **warm) == pytest.approx([1e-5, 1, 1, 1, 0.1])
    assert curve(5, **warm, WARMUP_RECOUNT=False) == pytest.approx([1e-5, 1, 1, 0.1, 0.1])


@pytest.mark.parametrize("kind", ["single_step", "multi_step", "cosine"])
@pytest.mark.parametrize("warmup", [("constant", 1), ("linear", 3), ("linear", 0)])
@pytest.mark.parametrize("stop", [0, 1, 2, 5])
def test_a_restored_schedule_goes_on_as_if_never_stopped(kind, warmup, stop, tmp_path) -> None:
    cfg = optim_cfg(LR_SCHEDULER=kind, STEPSIZE=(2, 4), MAX_EPOCH=8, WARMUP_TYPE=warmup[0], WARMUP_EPOCH=warmup[1])
    whole = rates(*build(cfg), 8)
    optimizer, scheduler = build(cfg)
    before = rates(optimizer, scheduler, stop)
    torch.save((optimizer.state_dict(), scheduler.state_dict()), tmp_path / "state.pt")
    optimizer, scheduler = build(cfg)
    states = torch.load(tmp_path / "state.pt", weights_only=True)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert before + rates(optimizer, scheduler, 8 - stop) == whole


def test_bad_schedules_are_named() -> None:
    with pytest.raises(ValueError, match="'cosin' is not available; did you mean 'cosine'?"):
        build(optim_cfg(LR_SCHEDULER="cosin"))
    with pytest.raises(ValueError, match="did you mean 'linear'?"):
        build(optim_cfg(WARMUP_EPOCH=1, WARMUP_TYPE="linea"))
    with pytest.raises(TypeError, match="STEPSIZE"):
        build(optim_cfg(STEPSIZE=(1.5,)))
    with pytest.raises(ValueError, match="did you mean 'adamw'?"):
        build(optim_cfg(NAME="adamww"))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("adam", "Adam", {"betas": (0.9, 0.999), "amsgrad": False}),
        ("amsgrad", "Adam", {"betas": (0.9, 0.999), "amsgrad": True}),
        ("adamw", "AdamW", {"betas": (0.9, 0.999)}),
        ("radam", "RAdam", {"betas": (0.9, 0.999), "decoupled_weight_decay": True}),
        ("rmsprop", "RMSprop", {"momentum": 0.9, "alpha": 0.99}),
        ("sgd", "SGD", {"momentum": 0.9, "dampening": 0, "nesterov": False}),
    ],
)
def test_optimisers_take_their_settings(name: str, kind: str, expected: dict) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), optim_cfg(NAME=name, LR=0.125))
    group = optimizer.param_groups[0]
    assert type(optimizer).__name__ == kind
    assert {key: group[key] for key in expected} == expected
    assert (group["lr"], group["weight_decay"]) == (0.125, 5e-4)


@pytest.mark.parametrize("name", ["sgd", "adam", "amsgrad", "adamw"])
def test_on_cuda_an_update_is_one_launch(name: str) -> None:
    def fused(value: Any) -> Any:
        return build_optimizer([value], optim_cfg(NAME=name)).param_groups[0]["fused"]

    with FakeTensorMode():
        on_cuda = nn.Parameter(torch.empty(3, device="cuda"))
        assert fused(on_cuda) is True and fused({"params": [on_cuda]}) is True
        assert not fused({"params": iter([on_cuda])})
    assert not fused(nn.Parameter(torch.empty(3)))


def test_sgd_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = build_optimizer([weight], optim_cfg(NAME="sgd", LR=0.1, WEIGHT_DECAY=0.01))
    value, velocity = 1.0, 0.0
    for _ in range(3):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        velocity = 0.9 * velocity + 1 + 0.01 * value
        value -= 0.1 * velocity
    assert weight.item() == pytest.approx(value, rel=1e-12)


def test_radam_decays_weights_directly() -> None:
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    build_optimizer([weight], optim_cfg(NAME="radam", LR=0.1, WEIGHT_DECAY=0.5)).step()
    assert weight.item() == pytest.approx(0.95)


def test_staged_rates() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    cfg = optim_cfg(LR=1.0, STAGED_LR=True, NEW_LAYERS=("head",))
    slow, fast = build_optimizer(model, cfg).param_groups
    assert (slow["lr"], fast["lr"]) == (pytest.approx(0.1), 1.0)
    assert fast["params"] == list(model["head"].parameters())
    with pytest.warns(UserWarning, match="ignored"):
        assert len(build_optimizer(model, cfg, param_groups=list(model.parameters())).param_groups) == 1
    with pytest.raises(TypeError, match="nn.Module"):
        build_optimizer(list(model.parameters()), cfg)
