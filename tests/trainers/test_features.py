"""What methods on frozen features share: images to choose on, the order of classes, fitting once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.shared import features
from trainers.shared.cosine import l2_normalize
from trainers.shared.features import places_among


def data(prefix, labels):
    return [SimpleNamespace(impath=f"{prefix}{i}", label=label) for i, label in enumerate(labels)]


def test_unit_features_have_the_derivatives_of_torchs_own():
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(l2_normalize, x) and torch.autograd.gradgradcheck(l2_normalize, x)
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    ours, theirs = l2_normalize(x), torch.nn.functional.normalize(x, dim=-1)
    assert torch.equal(ours, theirs)
    grads = (torch.autograd.grad(y.exp().sum(), x)[0] for y in (ours, theirs))
    assert torch.allclose(*grads, rtol=1e-12)


def test_test_images_are_never_validation_images(monkeypatch):
    """Where val is the test list (ImageNet), training images that were not drawn serve, few per class."""
    full, test = data("a", [0, 0, 0, 1, 1, 1, 1, 1, 1, 2]), data("t", [0, 1, 2])
    drawn = [full[0], full[3], full[9]]
    dataset = SimpleNamespace(train_x=drawn, val=test, test=test)
    monkeypatch.setattr(features, "whole_dataset", lambda cfg: SimpleNamespace(train_x=full, val=test, test=test))
    cfg = SimpleNamespace(DATASET=SimpleNamespace(NAME="D", NUM_SHOTS=3), SEED=1)
    for few in (True, False):
        found = features.validation_images(cfg, dataset, few)
        assert [item.label for item in found] == [0, 0, 1, 1, 1]
        assert not {item.impath for item in found} & {item.impath for item in [*drawn, *test]}
        assert found == features.validation_images(cfg, dataset, few)
    everything = SimpleNamespace(train_x=full, val=[], test=test)
    with pytest.raises(ValueError, match="^D has no validation images, and training takes all others"):
        features.validation_images(cfg, everything, few=True)


@settings(max_examples=50, deadline=None)
@given(mine=st.lists(st.sampled_from("abc"), min_size=1, max_size=6), dice=st.randoms())
def test_places_among_classes_in_another_order(mine, dice):
    """Same names in any order, some of them twice; those with one name keep their order."""
    trained = mine[:]
    dice.shuffle(trained)
    places = places_among(mine, trained)
    assert sorted(places) == list(range(len(mine))) and [mine[place] for place in places] == trained
    for name in mine:
        own = [place for place, other in zip(places, trained, strict=True) if other == name]
        assert own == sorted(own)
    assert places_among(mine, [*trained, "a"]) is None and places_among(mine, mine) == list(range(len(mine)))


@pytest.mark.parametrize("method", ["TipAdapter", "LinearProbe", "LinearProbe_P2"])
def test_what_was_fitted_is_not_fitted_again(method, make_trainer, monkeypatch):
    first = make_trainer(method)
    first.train()
    second = make_trainer(method)
    monkeypatch.setattr(second, "fit", None)
    second.train()
    assert all(torch.equal(v, second.model.state_dict()[k]) for k, v in first.model.state_dict().items())
