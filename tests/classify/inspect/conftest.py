"""Small trained runs on Digits, and an observation made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from classify.inspect.observe import ALPHAS, FROZEN, Observed
from tests.classify.conftest import QUICK, call, trained  # noqa: F401
from tests.trainers.conftest import make_trainer, remembered, single_thread, toy_clip  # noqa: F401

BASE = ["zero", "one", "two", "three", "four"]


@pytest.fixture(scope="session")
def base_run(mmrl_run) -> Path:
    """MMRL on the base classes."""
    return mmrl_run


@pytest.fixture(scope="session")
def new_run(tmp_path_factory, data, base_run) -> Path:
    """The test of ``base_run``'s model on the new classes."""
    folder = tmp_path_factory.mktemp("runs") / "new"
    words = ["--eval-only", "--model-dir", str(base_run), *QUICK, "DATASET.SUBSAMPLE_CLASSES", "new"]
    return trained("MMRL", folder, data, *words)


@pytest.fixture
def no_figures(monkeypatch) -> None:
    """Figures are made, but their files stay empty: rendering takes most of an inspection's time."""

    def save(figure, folder, name):
        names = [f"{name}.png", f"{name}.svg"]
        for file in names:
            (folder / file).touch()
        return names

    monkeypatch.setattr("classify.inspect.plots.save", save)


def unit(*rows: list[float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


@pytest.fixture
def seen() -> Observed:
    """Six images of three of four classes; the fourth has none."""
    return Observed(
        classes=["cat", "dog", "owl", "yak"],
        paths=[f"{i}.png" for i in range(6)],
        true=[0, 0, 0, 1, 1, 2],
        predicted=[0, 1, 1, 1, 0, 2],
        zero_shot=[1, 1, 0, 1, 1, 0],
        images={
            "own": unit([1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [3, 4]),
            FROZEN: unit([1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [1, 0]),
        },
        own_classes=unit([1, 0], [0, 1], [1, 1], [1, 0]),
        frozen_classes=unit([1, 0], [1, 0], [1, 0], [0, 1]),
        alpha_hits=[*range(len(ALPHAS) - 18), *[3] * 18],
        alpha=0.7,
        probabilities=torch.tensor([[0.7, 0.1, 0.1, 0.1], *3 * [[0.1, 0.7, 0.1, 0.1]], [1, 0, 0, 0], [0, 0.2, 0.8, 0]]),
        notes={},
    )
