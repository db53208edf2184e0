"""Linear-probe CLIP: the optimum, the search for C, the images drawn, the head."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clip.model import build_model
from reference.linearprobe import PlainLinearProbe
from reference.shared import toy
from trainers import linearprobe
from trainers.linearprobe import LinearProbeModel, draw, search
from trainers.shared.features import whole_dataset


def plain_search(accuracy, steps):
    """The C that the release's search ends with, step by step and without a memory."""
    grid = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
    values = [accuracy(c) for c in grid]
    start = grid[int(np.argmax(values))]
    left, right, kept = 0.1 * start, 10 * start, start
    for _ in range(steps):
        if accuracy(left) < accuracy(right):
            kept = right
            left = 0.5 * (np.log10(right) + np.log10(left))
            left = np.power(10, left)
        else:
            kept = left
            right = 0.5 * (np.log10(right) + np.log10(left))
            right = np.power(10, right)
    return kept


@settings(max_examples=200, deadline=None)
@given(peak=st.floats(-7, 7), levels=st.integers(1, 20), wave=st.floats(0, 2), steps=st.integers(0, 8))
def test_search_ends_where_the_releases_does(peak, levels, wave, steps):
    def accuracy(c):
        place = np.log10(c)
        return round(levels / (1 + abs(place - peak)) + wave * np.sin(3 * place))

    kept = linearprobe._search(lambda c: (c, accuracy(c)), steps)
    assert kept == pytest.approx(plain_search(accuracy, steps), rel=1e-12)


def features(seed, classes, count=12, width=6):
    dice = np.random.RandomState(seed)
    labels = np.arange(count) % classes
    return dice.randn(count, width) + labels[:, None], labels


def test_equal_fits_are_made_once_and_what_is_found_is_fitted(capsys):
    found = search(features(0, 3), features(1, 3), steps=3)
    log = capsys.readouterr().out
    tried = [line.split()[1].rstrip(":") for line in log.splitlines() if line.startswith("C ")]
    assert len(tried) == len(set(tried)) and found.coef_.shape == (3, 6)
    assert "1000 iterations" not in log


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_head_is_the_optimum_of_the_equation(classes):
    """Gradient zero of the plain loss in float64, where two classes have one row; scores are the plain ones."""
    torch.manual_seed(classes)
    weights = toy.clip_weights(classes, embed=6)
    model = LinearProbeModel(build_model(weights, torch.float32).double(), [str(i) for i in range(classes)]).double()
    plain = PlainLinearProbe({name: value.double() for name, value in weights.items()}, c=0.5)
    x, y = features(0, classes, count=30)
    fitted = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(x, y)
    model.set_head(fitted)
    coef, intercept = model.coef.clone().requires_grad_(), model.intercept.clone().requires_grad_()
    plain.objective(coef, intercept, torch.from_numpy(x), torch.from_numpy(y)).backward()
    rows = slice(1, None) if classes == 2 else slice(None)  # the first of two classes stays at zero
    assert coef.grad[rows].abs().max() < 1e-6 and intercept.grad[rows].abs().max() < 1e-6
    images = torch.randn(9, 3, 16, 16, dtype=torch.float64)
    logits, expected = model.scores(images, model.class_features()), plain.logits(model.state_dict(), images)
    assert torch.allclose(logits, expected, rtol=1e-9, atol=1e-9)
    seen = model.clip_model.encode_image(images).numpy()
    assert np.array_equal(logits.argmax(dim=1).numpy(), fitted.predict(seen))
    assert np.allclose(model.probabilities(logits).numpy(), fitted.predict_proba(seen))


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_official_draw_is_numpys(shots):
    labels = [2, 0, 1, 1, 0, 2, 2, 0, 1, 0, 1]
    items = [SimpleNamespace(label=label, place=place) for place, label in enumerate(labels)]
    generator = np.random.RandomState(3)
    found = [draw(items, shots, generator), draw(items, 1, generator)]
    np.random.seed(3)
    for drawn, count in zip(found, (shots, 1), strict=True):
        want = [np.random.choice(np.where(np.array(labels) == c)[0], count, replace=False) for c in range(3)]
        assert [item.place for item in drawn] == np.concatenate(want).tolist()
    assert len(draw(items, 9, generator)) == len(items)


def test_images_of_each_way(make_trainer):
    """Digits' base classes: 4 shots of each, and as many validation images."""
    ways = {}
    for sampling in ("run", "official"):
        for selection in ("val", "test_as_published"):
            trainer = make_trainer(
                *("LinearProbe", "TRAINER.LINEARPROBE.SAMPLING", sampling, "TRAINER.LINEARPROBE.SELECTION", selection)
            )
            train, val = trainer.images()
            assert [item.label for item in train] == [item.label for item in val] == sorted([*range(5)] * 4)
            parts = [{item.impath for item in part} for part in (train, val, trainer.dm.dataset.test)]
            assert not parts[0] & parts[1] and not parts[2] & (parts[0] | parts[1])
            ways[sampling, selection] = parts[:2]
            drawn = {item.impath for item in trainer.dm.dataset.train_x}
            assert (parts[0] == drawn) == (sampling == "run")
            if sampling == "official":
                whole, generator = whole_dataset(trainer.cfg), np.random.RandomState(1)
                wanted = [draw(items, 4, generator) for items in (whole.train_x, whole.val)]
                assert [[item.impath for item in part] for part in wanted] == [
                    [item.impath for item in part] for part in (train, val)
                ]
    assert ways["official", "val"] == ways["official", "test_as_published"]  # Digits' validation images are its own


def test_scores_are_the_heads_and_follow_the_order_of_the_classes(make_trainer, one_batch):
    trainer = make_trainer("LinearProbe", "TRAINER.LINEARPROBE.SEARCH_STEPS", 0)
    trainer.train()
    model, names = trainer.model, list(trainer.dm.dataset.classnames)
    images, _ = trainer.parse_batch_train(one_batch(trainer))
    with torch.no_grad():
        want = model.clip_model.encode_image(images) @ model.coef.t() + model.intercept
        assert torch.equal(model.scores(images, model.class_features()), want)
        order = [3, 0, 4, 1, 2]
        other = trainer.build_method(trainer.cfg, model.clip_model, [names[i] for i in order])
        other.fit_to(model.state_dict(), names)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.scores(images, other.class_features()), want[:, order])
    stranger = trainer.build_method(trainer.cfg, model.clip_model, [*names, "nine"])
    stranger.fit_to(model.state_dict(), names)
    with pytest.raises(ValueError, match="^LinearProbe cannot score new classes: its head has the classes"):
        stranger.class_features()
