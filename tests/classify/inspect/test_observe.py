"""What a watched test shows, against features and scores that are computed apart from it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from classify.inspect import load, measure
from classify.inspect.observe import ALPHAS, FROZEN, observe
from clip import tokenize
from runs import record
from trainers.mmrl.method import CLASS_FEATURE, REPRESENTATION_FEATURE
from trainers.shared.templates import template_of


@pytest.fixture(scope="module", params=["base", "new"])
def both(request):
    """The run's record, its trainer and what was observed."""
    folder = request.getfixturevalue(f"{request.param}_run")
    trainer = load.open_run(folder)
    return record.read(folder), trainer, observe(trainer, load.images_of(trainer, "test"))


@pytest.fixture(scope="module")
def features(both):
    """f_c, f_r, w, frozen image and class features, all unit, of all images at once."""
    _, trainer, found = both
    model = trainer.model
    images = torch.cat([batch["img"] for batch in trainer.test_loader])
    prompts = tokenize([template_of(trainer.cfg).format(name) for name in found.classes])
    with torch.no_grad():
        f_c, f_r = model.image_features(images)
        frozen = F.normalize(model.clip_model.encode_image(images), dim=-1)
        text = F.normalize(model.clip_model.encode_text(prompts), dim=-1)
        return f_c, f_r, model.class_features(), frozen, text


def test_it_is_the_runs_own_test(both):
    content, _, found = both
    facts = measure.summary(found)
    assert (facts["images"], facts["accuracy"]) == (content["total"], content["accuracy"])
    rows = [{"class": r["class"], "total": r["images"], "correct": r["correct"]} for r in measure.per_class(found)]
    assert rows == content["per_class"]


def test_alpha_is_swept_from_the_representation_to_the_class_feature(both, features):
    content, trainer, found = both
    f_c, f_r, w, _, _ = features
    true = torch.tensor(found.true)
    first, second = ((100 * f @ w.t()).softmax(-1) for f in (f_c, f_r))
    hits = [((a * first + (1 - a) * second).argmax(-1) == true).sum().item() for a in ALPHAS]
    assert found.alpha_hits == hits and len(set(hits)) > 1
    # Base classes are scored with both features, new ones with the class feature alone.
    assert found.alpha == (0.7 if content["subsample"] == "base" else 1.0)
    assert hits[ALPHAS.index(found.alpha)] == content["correct"]
    fused = found.alpha * first + (1 - found.alpha) * second
    torch.testing.assert_close(found.probabilities, fused, atol=1e-4, rtol=1e-3)


def test_features_and_zero_shot_clip(both, features):
    _, _, found = both
    f_c, f_r, w, frozen, text = features
    assert list(found.images) == [CLASS_FEATURE, REPRESENTATION_FEATURE, FROZEN] and found.notes == {}
    pairs = list(zip(found.images.values(), (f_c, f_r, frozen), strict=True))
    for mine, wanted in [*pairs, (found.own_classes, w), (found.frozen_classes, text)]:
        assert torch.allclose(mine, wanted, atol=1e-5)
    assert found.zero_shot == (frozen @ text.t()).argmax(-1).tolist()


def test_cosines_to_frozen_clip(both, features):
    _, _, found = both
    f_c, f_r, w, frozen, text = features
    true = torch.tensor(found.true)
    rows = measure.cosines(found)
    assert [row["class feature"] for row in rows] == pytest.approx(F.cosine_similarity(w, text).tolist(), abs=1e-5)
    for name, own in ((CLASS_FEATURE, f_c), (REPRESENTATION_FEATURE, f_r)):
        each = F.cosine_similarity(own, frozen)
        wanted = [each[true == label].mean().item() for label in range(len(found.classes))]
        assert [row[f"images: {name}"] for row in rows] == pytest.approx(wanted, abs=1e-5)
    assert min(row["class feature"] for row in rows) < 0.999  # something was learned


def test_paths_go_with_labels(both):
    _, _, found = both
    assert [path.replace("\\", "/").split("/")[-2] for path in found.paths] == [found.classes[t] for t in found.true]
