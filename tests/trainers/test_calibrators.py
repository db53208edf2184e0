"""The calibrators around any method: golden numbers, what they keep, what they leave alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from trainers.plugins.contract import Labelled, Seen
from trainers.plugins.dac import DAC
from trainers.plugins.temperature import Temperature

DATA = Path(__file__).parents[1] / "data/calibration.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(DATA) as content:
        return {name: torch.as_tensor(value) for name, value in content.items()}


class Host:
    """Unit class features are its own."""

    @staticmethod
    def one_feature_per_class(features):
        return features

    @staticmethod
    def probabilities(scores):
        return scores.softmax(dim=1)


class Mixture(Host):
    """Its scores are probabilities."""

    probabilities = staticmethod(lambda scores: scores)
    log_probabilities = staticmethod(torch.log)


def seen(features):
    return Seen(Host, features, None)


def dac(zero_shot, k=5):
    plugin = object.__new__(DAC)
    nn.Module.__init__(plugin)
    plugin.settings, plugin.fitted = SimpleNamespace(k=k), False
    plugin.register_buffer("zero_shot", zero_shot, persistent=False)
    plugin.register_buffer("base_zero_shot", zero_shot.clone())
    plugin.register_buffer("base_tuned", torch.zeros_like(zero_shot))
    return plugin


def test_dac_gives_the_authors_scores_after_a_checkpoint_of_other_classes(golden):
    trained = dac(golden["dac/base_zs"])
    scores = golden["logits"]
    assert trained.scores(seen(golden["dac/base_tuned"]), scores) is scores  # nothing was fitted yet
    trained.fit(lambda: [Labelled(seen(golden["dac/base_tuned"]), scores, golden["labels"])])
    assert torch.equal(trained.gamma(golden["dac/base_tuned"]), torch.ones(9, dtype=torch.float64))

    loaded = dac(golden["dac/current_zs"])  # seven classes, two of them of the nine trained on
    loaded.fit_to(trained.state_dict(), [f"class {i}" for i in range(9)])
    loaded.load_state_dict(trained.state_dict())
    torch.testing.assert_close(
        loaded.gamma(golden["dac/current_tuned"]), golden["dac/class_confidence"], rtol=1e-6, atol=0
    )
    found = loaded.scores(seen(golden["dac/current_tuned"]), scores)
    torch.testing.assert_close(found, golden["dac/logits"], rtol=1e-5, atol=1e-6, check_dtype=False)
    assert torch.equal(found.argmax(dim=1), scores.argmax(dim=1))


def test_dac_divides_by_k_where_fewer_classes_were_trained_on():
    base = torch.eye(3)[:1].double()
    plugin = dac(base, k=2)
    plugin.fit(lambda: [Labelled(seen(base), base, base)])
    plugin.zero_shot = torch.eye(3)[1:2].double()  # sqrt 2 away
    far = torch.tensor([[-1.0, 0, 0]]).double()  # learned: 2 away
    assert plugin.gamma(far).item() == pytest.approx(np.exp((np.sqrt(2) - 2) / 2))


def test_the_temperature_is_the_exact_minimiser_over_all_batches(golden):
    plugin = object.__new__(Temperature)
    nn.Module.__init__(plugin)
    plugin.register_buffer("temperature", torch.ones(()))
    scores, labels = golden["logits"], golden["labels"]
    halves = [Labelled(seen(scores), scores[i::2], labels[i::2]) for i in range(2)]
    assert torch.equal(plugin.scores(seen(scores), scores), scores)
    plugin.fit(lambda: iter(halves))
    assert np.log(100 / plugin.temperature.item()) == pytest.approx(golden["ts/log_scale_nll_optimum"].item(), rel=1e-6)
    assert torch.equal(plugin.scores(seen(scores), scores), scores / plugin.temperature)


def test_scores_that_are_probabilities_stay_probabilities(golden):
    plugin = object.__new__(Temperature)
    nn.Module.__init__(plugin)
    plugin.register_buffer("temperature", torch.tensor(2.0))
    p = golden["logits"].softmax(dim=1)
    found = plugin.scores(Seen(Mixture, None, None), p)
    torch.testing.assert_close(found, (golden["logits"] / 2).softmax(dim=1))
