"""Layers, losses and helpers of `dassl.modeling.ops`, and distances, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dassl.metrics import compute_distance_matrix, cosine_distance, euclidean_squared_distance
from dassl.modeling import NETWORK_REGISTRY, build_network, ops
from dassl.modeling.ops import utils


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_distances() -> None:
    a, b = draw(3, 5), draw(4, 5)
    rows = [[(x - y).square().sum() for y in b] for x in a]
    assert torch.allclose(euclidean_squared_distance(a, b), torch.tensor(rows, dtype=torch.float64))
    angles = F.cosine_similarity(a[:, None], b[None], dim=2)
    assert torch.allclose(cosine_distance(a, b), 1 - angles)
    assert torch.equal(compute_distance_matrix(a, b), euclidean_squared_distance(a, b))
    assert torch.equal(compute_distance_matrix(a, b, metric="cosine"), cosine_distance(a, b))
    with pytest.raises(ValueError, match="'cosin' is not available; did you mean 'cosine'?"):
        compute_distance_matrix(a, b, "cosin")
    with pytest.raises(ValueError, match=r"equally many columns, got \[3, 5\] and \[4, 4\]"):
        compute_distance_matrix(a, b[:, :4])


def test_cross_entropy_with_smooth_labels() -> None:
    scores, labels = draw(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    wanted = 0.8 * F.one_hot(labels, 4) + 0.2 / 4
    losses = -(wanted * scores.log_softmax(1)).sum(1)
    assert torch.allclose(ops.cross_entropy(scores, labels, 0.2), losses.mean())
    assert torch.allclose(ops.cross_entropy(scores, labels, label_smooth=0.2, reduction="sum"), losses.sum())
    assert torch.allclose(ops.cross_entropy(scores, labels, 0.2, "none"), losses)
    with pytest.raises(ValueError, match="'men' is not available"):
        ops.cross_entropy(scores, labels, reduction="men")


def test_mixup_mixes_images_and_labels_alike() -> None:
    ones, zeros = torch.ones(64, 2, 3, 3), torch.zeros(64, 2, 3, 3)
    images, labels = ops.mixup(ones, zeros, torch.ones(64, 5), torch.zeros(64, 5), 0.75)
    assert torch.equal(images[:, 0, 0, 0], labels[:, 0]) and torch.equal(images.amax((1, 2, 3)), images.amin((1, 2, 3)))
    assert labels.min() < 0.5
    _, labels = ops.mixup(ones, zeros, torch.ones(64, 5), torch.zeros(64, 5), 0.75, preserve_order=True)
    assert labels.min() >= 0.5


def test_a_reversed_gradient() -> None:
    x = draw(3).requires_grad_()
    (ops.ReverseGrad()(x, 2.0) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-2.0, -4.0, -6.0]


def test_a_sequence_hands_tuples_on() -> None:
    class Both(nn.Module):
        def forward(self, a, b):
            return a + 1, b + 2

    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    assert ops.Sequential2(Both(), Both(), Sum(), nn.Identity())(1, 10) == 17


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["linear", "poly", "rbf"])
def test_discrepancy_is_a_mean_over_different_pairs(kind: str, normalize: bool) -> None:
    x, y = draw(4, 3), draw(5, 3)
    a, b = (F.normalize(x), F.normalize(y)) if normalize else (x, y)

    def kernel(u, v):
        if kind == "rbf":
            return sum(math.exp(-float((u - v).square().sum()) / (2 * s**2)) for s in (1, 5, 10))
        return float(u @ v) if kind == "linear" else (float(u @ v) + 2) ** 2

    def mean(values):
        return sum(values) / len(values)

    expected = mean([kernel(u, v) for i, u in enumerate(a) for j, v in enumerate(a) if i != j])
    expected += mean([kernel(u, v) for i, u in enumerate(b) for j, v in enumerate(b) if i != j])
    expected -= 2 * mean([kernel(u, v) for u in a for v in b])
    assert float(ops.MaximumMeanDiscrepancy(kind, normalize)(x, y)) == pytest.approx(expected, rel=1e-9)


def test_mixstyle_gives_mixed_means_and_deviations() -> None:
    x = draw(6, 2, 4, 4)
    weight, partners = torch.rand(6, 1, 1, 1, dtype=torch.float64), torch.randperm(6)
    layer = ops.MixStyle(p=1.0, eps=0.0)
    out = layer.mixed(x, partners, weight)
    for statistic in (torch.Tensor.mean, torch.Tensor.std):
        own = statistic(x, (2, 3))
        assert torch.allclose(statistic(out, (2, 3)), own * weight[..., 0, 0] + own[partners] * (1 - weight[..., 0, 0]))


def test_efdmix_mixes_values_of_equal_rank() -> None:
    x = draw(4, 2, 3, 3)
    weight, partners = torch.rand(4, 1, 1, 1, dtype=torch.float64), torch.tensor([1, 2, 3, 0])
    out = ops.EFDMix().mixed(x, partners, weight)
    ranked, values = x.flatten(2).sort(-1).values, out.flatten(2)
    expected = ranked * weight[..., 0] + ranked[partners] * (1 - weight[..., 0])
    assert torch.allclose(values.sort(-1).values, expected)
    assert torch.equal(values.argsort(-1), x.flatten(2).argsort(-1))


@pytest.mark.parametrize(("kind", "name"), [(ops.MixStyle, "mixstyle"), (ops.EFDMix, "efdmix")])
def test_mixing_is_switched(kind, name: str) -> None:
    layer = kind(p=1.0, alpha=0.5)
    model, x = nn.Sequential(layer), torch.randn(8, 3, 4, 4)
    assert not torch.equal(model(x), x)
    with getattr(ops, f"run_without_{name}")(model):
        assert torch.equal(model(x), x)
    model.apply(getattr(ops, f"deactivate_{name}"))
    assert torch.equal(model(x), x)
    with getattr(ops, f"run_with_{name}")(model, mix="crossdomain"):
        assert layer.mix == "crossdomain" and not torch.equal(model(x), x)
    assert torch.equal(model(x), x)
    model.apply(getattr(ops, f"activate_{name}")).apply(getattr(ops, f"random_{name}"))
    assert layer.mix == "random" and not torch.equal(model(x), x)
    assert torch.equal(model.eval()(x), x)
    assert torch.equal(nn.Sequential(kind(p=0.0)).train()(x), x)
    with pytest.raises(ValueError, match="'crossdomian' is not available; did you mean 'crossdomain'?"):
        kind(mix="crossdomian")


def test_crossdomain_partners_are_in_the_other_half() -> None:
    partners = ops.MixStyle(mix="crossdomain")._partners(8).tolist()
    assert sorted(partners) == list(range(8)) and min(partners[:4]) == 4


def test_helpers() -> None:
    p = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    assert torch.allclose(
        utils.sharpen_prob(p), torch.tensor([[0.04, 0.64], [0.25, 0.25]]) / torch.tensor([[0.68], [0.5]])
    )
    assert utils.create_onehot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    data, label = torch.arange(5), torch.arange(5) * 10
    assert [t.tolist() for t in utils.reverse_index(data, label)] == [[4, 3, 2, 1, 0], [40, 30, 20, 10, 0]]
    data, label = utils.shuffle_index(data, label)
    assert torch.equal(data * 10, label) and sorted(data.tolist()) == [0, 1, 2, 3, 4]
    assert [utils.linear_rampup(c, 10) for c in (-1, 0, 5, 20)] == [0, 0, 0.5, 1]
    assert utils.sigmoid_rampup(4, 10) == pytest.approx(math.exp(-5 * 0.36)) and utils.sigmoid_rampup(10, 10) == 1
    with pytest.raises(ValueError, match="the length of a ramp must be positive, not 0"):
        utils.sigmoid_rampup(1, 0)
    model, average = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.9 * average.weight.item() + 0.1 * model.weight.item()
    utils.ema_model_update(model, average, 0.9)
    assert average.weight.item() == pytest.approx(expected) and average.weight.requires_grad


def test_networks_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    def tiny_generator(width: int) -> nn.Module:
        return nn.Linear(width, width)

    NETWORK_REGISTRY.register(tiny_generator, force=True)
    assert build_network("tiny_generator", width=3).weight.shape == (3, 3)
    assert capsys.readouterr().out == "Network: tiny_generator\n"
