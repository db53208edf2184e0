"""The figures: what they show, of few and of many classes."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from classify.inspect import class_plots, measure, plots, project
from classify.inspect.observe import FROZEN, Observed


@pytest.fixture
def many() -> Observed:
    """50 classes of 4 images: of class c, c % 5 are wrong (of c % 5 = 4, all) and go to the next class."""
    torch.manual_seed(0)
    true = [label for label in range(50) for _ in range(4)]
    predicted = [(label + 1) % 50 if i % 4 < label % 5 else label for i, label in enumerate(true)]
    values = torch.nn.functional.normalize(torch.randn(200, 6), dim=-1)
    classes = [f"class {label}" for label in range(50)]
    frozen = torch.eye(50, 6)
    p = torch.nn.functional.one_hot(torch.tensor(predicted), 50).float()
    return Observed(classes, classes * 4, true, predicted, true, {FROZEN: values}, None, frozen, [], None, p, {})


def labels(axis) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


def test_the_confusion_matrix_of_few_classes(seen):
    figure = class_plots.confusion_matrix(seen, "a title")
    panel = figure.axes[0]
    assert labels(panel.xaxis) == labels(panel.yaxis) == ["cat", "dog", "owl", "yak"]
    assert panel.get_title() == "a title" and len(panel.texts) == 16
    assert [text.get_text() for text in panel.texts[:4]] == ["33", "67", "0", "0"]


def test_the_confusion_matrix_of_many_classes_has_those_with_the_most_errors(many):
    panel = class_plots.confusion_matrix(many, "t").axes[0]
    assert len(labels(panel.yaxis)) == 30 and labels(panel.xaxis)[-1] == "all others" and not panel.texts
    assert {int(name.split()[1]) % 5 for name in labels(panel.yaxis)} == {2, 3, 4}
    assert "the 30 classes with the most errors" in panel.get_title()


def test_gains_are_in_order_and_of_many_the_extremes(seen, many):
    panel = class_plots.gains(measure.per_class(seen), "t").axes[0]
    assert labels(panel.yaxis) == ["dog", "cat", "owl"]  # yak has no images
    assert [bar.get_width() for bar in panel.patches] == [-50, 0, 100]
    assert panel.patches[0].get_facecolor() != panel.patches[2].get_facecolor()
    panel = class_plots.gains(measure.per_class(many), "t").axes[0]
    values = [bar.get_width() for bar in panel.patches]
    assert len(values) == 40 and values == sorted(values) and (values[0], values[-1]) == (-100, 0)
    assert "the 20 lowest and the 20 highest of 50 classes" in panel.get_title()


def test_the_alpha_curve(seen):
    panel = plots.alpha_curve(measure.alphas(seen), 0.7, "t").axes[0]
    curve, line = panel.lines
    assert curve.get_xdata()[-1] == 1.0 and curve.get_ydata()[1] == pytest.approx(100 / 6)
    assert set(line.get_xdata()) == {0.7} and "0.7" in line.get_label()


def test_scatter_marks_wrong_predictions(seen):
    chosen = project.choose(seen, 1000)
    assert (chosen.images, chosen.classes) == (list(range(6)), [0, 1, 2])
    flat = {"own": np.arange(12.0).reshape(6, 2)}
    figure = plots.scatter(seen, chosen, flat, {"own": ("x", "y")}, "t")
    drawn = [(part.get_offsets().tolist(), len(part.get_facecolors()) > 0) for part in figure.axes[0].collections]
    right = [point for points, filled in drawn if filled for point in points]
    wrong = [point for points, filled in drawn if not filled for point in points]
    assert sorted(wrong) == [[2, 3], [4, 5], [8, 9]] and sorted(right) == [[0, 1], [6, 7], [10, 11]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog", "owl", "wrong"]


def test_many_classes_and_images_are_thinned(many):
    chosen = project.choose(many, 10)
    assert len(chosen.images) == 10 and len(chosen.classes) == 16
    assert all(many.true[i] in chosen.classes for i in chosen.images)
    assert {label % 5 for label in chosen.classes} <= {3, 4}
    assert len(project.choose(many, 1000).images) == 64


def test_pca_is_that_of_the_covariance():
    torch.manual_seed(1)
    values = torch.randn(30, 5, dtype=torch.float64) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1])
    flat, shares = project.pca(values)
    centred = values - values.mean(dim=0)
    found, vectors = torch.linalg.eigh(centred.t() @ centred)
    wanted = centred @ vectors[:, [-1, -2]]
    assert np.allclose(np.abs(flat), wanted.abs().numpy())
    assert shares == pytest.approx((100 * found[[-1, -2]] / found.sum()).tolist())
    assert project.pca(values[:1])[0].tolist() == [[0.0, 0.0]]


def test_tsne_keeps_groups_together_and_needs_four_images():
    torch.manual_seed(2)
    groups = torch.eye(3).repeat_interleave(10, dim=0) + 0.01 * torch.randn(30, 3)
    flat = project.tsne(groups)
    nearest = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 1e9 * np.eye(30)
    assert (nearest.argmin(axis=1) // 10 == np.arange(30) // 10).all()
    assert np.array_equal(flat, project.tsne(groups)) and project.tsne(groups[:3]) is None


def test_files_are_whole_and_the_same_each_time(seen, tmp_path):
    for name in ("one", "two"):
        names = plots.save(class_plots.confusion_matrix(seen, "t"), tmp_path, name)
        assert names == [f"{name}.png", f"{name}.svg"]
    for kind in ("png", "svg"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    picture = Image.open(io.BytesIO((tmp_path / "one.png").read_bytes()))
    assert min(picture.size) > 300 and len(picture.convert("L").getcolors()) > 20
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")


def test_long_names_are_cut(seen):
    figure = class_plots.gains(measure.per_class(replace(seen, classes=["a" * 60, "b", "c", "d"])), "t")
    assert max(map(len, labels(figure.axes[0].yaxis))) == 26
