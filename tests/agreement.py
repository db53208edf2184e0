"""How close a model must come: to a plain reference, and to the authors' numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tools import golden

GOLDEN = Path(__file__).parent / "trainers" / "data"


def relative(a: Tensor, b: Tensor) -> float:
    """Relative error in norm; the floor is for gradients that are exactly zero (one class, equal names)."""
    return ((a - b).norm() / b.norm().clamp_min(1e-3)).item()


def loss_and_gradients_agree(
    loss: Tensor,
    model: torch.nn.Module,
    want: Tensor,
    learned: Mapping[str, Tensor],
    loss_tolerance: float = 1e-9,
    grad_tolerance: float = 1e-9,
    unseen: bool = False,
) -> None:
    """After backward on both sides, ``learned`` being the reference's tensors by the names of the model's parameters.

    Every tensor must have a gradient; with ``unseen`` it may have none where nothing sees it, which is one of zero.
    """
    assert abs(loss.item() - want.item()) <= loss_tolerance * max(1, abs(want.item()))
    for name, value in model.named_parameters():
        sides = (value, learned[name])
        assert unseen or all(side.grad is not None for side in sides), name
        found, expected = (torch.zeros_like(side) if side.grad is None else side.grad for side in sides)
        assert relative(found, expected) <= grad_tolerance, name


def setting_of(name: str) -> dict:
    """What the golden numbers of that name were made with."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_agrees(name: str, **bounds: float) -> int:
    """How many golden numbers that name has, all recomputed (float32): features 1e-4, losses 1e-5, gradients 1e-3.

    These are relative errors in norm; ``bounds``, by the first part of a number's key, replace them. A term of the loss
    may be 1 less a cosine near 1, of which float32 keeps about 1e-7: processors differ there in the last digits.
    """
    found = golden.recompute(setting_of(name))
    with np.load(GOLDEN / f"{name}.npz") as expected:
        assert expected.files and set(expected.files) <= set(found)
        for key in expected.files:
            want, got = expected[key].astype(np.float64), np.asarray(found[key], np.float64)
            kind = key.removeprefix("copy_restore/").split("/")[0]
            usual = 1e-3 if kind.startswith("grad") else 1e-5 if kind in ("loss", "loss0") else 1e-4
            bound = bounds.get(kind, usual)
            allowed = bound * np.linalg.norm(want) + (5e-7 if key.startswith("loss/") else 0)
            assert got.shape == want.shape and np.linalg.norm(got - want) <= allowed, key
        return len(expected.files)
