"""A run as a classifier: the trainer's own scores, whoever asks and in whatever form the images come."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classify import load_classifier, names, zero_shot
from runs.open import recorded_cfg
from tests.classify.conftest import BASE, NEW, evaluation
from trainers.shared.method import Method


@pytest.mark.parametrize("fusion", ["probs", "logits"])
def test_the_runs_own_classes_get_the_trainers_scores_bit_for_bit(mmrl_run, fusion, monkeypatch):
    recorded = recorded_cfg(mmrl_run)
    recorded.TRAINER.MMRL.FUSION = fusion
    monkeypatch.setattr("classify.load.recorded_cfg", lambda folder: recorded)
    paths, scores = evaluation(mmrl_run, "base", "TRAINER.MMRL.FUSION", fusion)
    classifier = load_classifier(mmrl_run, device="cpu")
    assert classifier.classes == BASE and classifier.about["seen"] is True
    found = classifier.predict(paths, batch_size=len(scores[0]))
    wanted = torch.cat(scores if fusion == "probs" else [batch.softmax(dim=-1) for batch in scores])
    assert torch.equal(found, wanted) and found.dtype == torch.float32
    assert torch.allclose(found.sum(dim=-1), torch.ones(len(paths)))


def test_threads_are_chosen_for_the_model(monkeypatch):
    told = []
    monkeypatch.setattr("classify.load.choose_threads", lambda backbone, device: told.append((backbone, device.type)))
    zero_shot("embedded", ["one", "two"], device="cpu")
    assert told == [("embedded", "cpu")]


def test_new_classes_get_the_class_features_scores_bit_for_bit(mmrl_run, capsys):
    paths, scores = evaluation(mmrl_run, "new")
    capsys.readouterr()
    classifier = load_classifier(mmrl_run, NEW, device="cpu")
    note = "note: these are not exactly the classes trained on, so all of them are scored as new classes\n"
    assert capsys.readouterr().out == note and classifier.about["seen"] is False
    wanted = torch.cat([batch.softmax(dim=-1) for batch in scores])
    assert torch.equal(classifier.predict(paths, len(scores[0])), wanted)


@pytest.mark.parametrize("classes", ["base", "new"])
def test_a_zero_shot_run_gets_the_trainers_scores(zero_shot_run, mmrl_run, classes):
    paths, scores = evaluation(zero_shot_run, classes)
    classifier = load_classifier(zero_shot_run, BASE if classes == "base" else None, device="cpu")
    assert classifier.classes == (BASE if classes == "base" else NEW) and classifier.about["seen"] is None
    wanted = torch.cat([batch.softmax(dim=-1) for batch in scores])
    assert torch.equal(classifier.predict(paths, len(scores[0])), wanted)
    alone = zero_shot("embedded", classifier.classes, device="cpu", template="a photo of the digit {}.")
    assert torch.equal(alone.predict(paths, len(scores[0])), wanted)


def test_the_same_classes_in_another_order_are_still_those_trained_on(mmrl_run, digits):
    paths = sorted(map(str, digits.rglob("[0-9].png")))
    wanted = load_classifier(mmrl_run, device="cpu").predict(paths)
    turned = load_classifier(mmrl_run, ["Four", *BASE[3::-1]], device="cpu")
    assert turned.about["seen"] is True
    assert turned.classes == ["Four", "three", "two", "one", "zero"]
    assert torch.equal(turned.predict(paths), wanted.flip(-1))


@pytest.mark.parametrize("classes", [BASE[:4], [*BASE, "five"]])
def test_a_subset_or_a_mixture_is_scored_with_the_class_feature_alone(mmrl_run, digits, classes):
    paths = sorted(map(str, digits.glob("[0-9].png")))
    classifier = load_classifier(mmrl_run, classes, device="cpu")
    assert classifier.about["seen"] is False
    images = torch.stack([classifier.preprocess(Image.open(path).convert("RGB")) for path in paths])
    found = classifier.predict(images)
    own = load_classifier(mmrl_run, device="cpu")
    own.method.use_classes(False)
    shared = [name for name in classes if name in BASE]
    among = own.predict(images)[:, [BASE.index(name) for name in shared]]
    ours = found[:, : len(shared)]
    assert torch.allclose(ours / ours.sum(-1, True), among / among.sum(-1, True), atol=1e-5)
    own.method.use_classes(True)
    assert not torch.allclose(own.predict(images)[:, :4], found[:, :4], atol=1e-2)


def test_every_form_of_image_gets_the_same(mmrl_run, digits):
    classifier = load_classifier(mmrl_run, device="cpu")
    paths = sorted(digits.rglob("[0-9].png"))
    pictures = [Image.open(path) for path in paths]  # grey, as they are
    tensors = [classifier.preprocess(picture.convert("RGB")) for picture in pictures]
    wanted = classifier.predict(paths)
    assert wanted.shape == (10, 5) and len(wanted.unique(dim=0)) == 10
    for images in (list(map(str, paths)), pictures, tensors, torch.stack(tensors)):
        assert torch.equal(classifier.predict(images), wanted)
    assert torch.allclose(classifier.predict(paths, batch_size=3), wanted, atol=1e-6)
    for single in (paths[4], pictures[4], tensors[4]):
        assert torch.allclose(classifier.predict(single), wanted[4:5], atol=1e-6)
    assert classifier.predict([]).shape == (0, 5)


def test_top(mmrl_run):
    classifier = load_classifier(mmrl_run, device="cpu")
    rows = torch.tensor([[0.1, 0.5, 0.0, 0.4, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    first, second = classifier.top(rows, 2)
    assert [name for name, _ in first] == ["one", "three"] and second[0] == ("two", 1.0)
    assert first[1][1] == pytest.approx(0.4)
    assert [len(row) for row in classifier.top(rows, 99)] == [5, 5]
    with pytest.raises(ValueError, match="^k must be at least 1, not 0$"):
        classifier.top(rows, 0)


def test_unreadable_images_are_raised_or_told_one_by_one(mmrl_run, digits, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    good, bad = str(digits / "3.png"), str(tmp_path / "bad.png")
    classifier = load_classifier(mmrl_run, device="cpu")
    with pytest.raises(OSError, match="bad.png: not an image file$"):
        classifier.predict([good, bad])
    told = {}
    found = classifier.predict([bad, good, bad], batch_size=1, on_error=told.__setitem__)
    assert list(told) == [0, 2] and found[[0, 2]].isnan().all()
    assert torch.equal(found[1:2], classifier.predict(good))
    classifier.reading = replace(classifier.reading, max_megapixels=1e-5)
    classifier.predict([good], on_error=told.__setitem__)
    assert "3.png: it has 0.0 megapixels, more than" in str(told[0])


def test_template_precision_and_epoch(mmrl_run, digits, capsys):
    path = digits / "2.png"
    wanted = load_classifier(mmrl_run, device="cpu").predict(path)
    other = load_classifier(mmrl_run, device="cpu", template="{}!", epoch=3)
    assert other.about["template"] == "{}!" and other.about["epoch"] == 3
    assert not torch.allclose(other.predict(path), wanted, atol=1e-4)
    capsys.readouterr()
    assert load_classifier(mmrl_run, device="cpu", precision="amp").about["precision"] == "fp32"
    assert capsys.readouterr().out == "PREC amp needs CUDA; on cpu this run uses fp32\n"
    half = load_classifier(mmrl_run, device="cpu", precision="bf16").predict(path)
    assert half.dtype == torch.float32 and 0 < (half - wanted).abs().max() < 0.05


def test_about_says_where_a_model_comes_from(mmrl_run):
    about = load_classifier(mmrl_run, device="cpu").about
    assert (about["method"], about["backbone"], about["epoch"]) == ("MMRL", "embedded", 3)
    assert len(about["run_id"]) == 32 and len(about["weights"]) == 16
    assert about["preprocessing"]["center_crop"] == [32, 32]


def test_a_method_that_cannot_score_other_classes_says_so(mmrl_run, monkeypatch):
    def refuse(self, seen):
        if not seen:
            raise ValueError("only the classes trained on")

    monkeypatch.setattr("trainers.mmrl.MMRLModel.use_classes", refuse)
    assert load_classifier(mmrl_run, device="cpu").about["seen"] is True
    with pytest.raises(ValueError, match="^only the classes trained on$"):
        load_classifier(mmrl_run, NEW, device="cpu")


def test_scores_are_logits_unless_a_method_says_otherwise():
    scores = torch.tensor([[1.0, 2.0]], dtype=torch.float16)
    found = Method.probabilities(Method.__new__(Method), scores)
    assert torch.equal(found, scores.float().softmax(dim=-1))


@given(st.permutations(["great_white shark", "Hen", "tench"]), st.integers(0, 2))
def test_lists_of_names(order, index):
    others = ["hen", "Great white_shark", " tench"]
    assert [others[place].strip().lower()[0] for place in names.places(order, others)] == [n[0].lower() for n in order]
    assert names.places(["hen", "a", "hen"], ["a", "hen", "hen"]) == [1, 0, 2]
    assert names.places(order[:2], order) is None and names.places(order, order[:2]) is None
    assert names.places([*(name for i, name in enumerate(order) if i != index), "cock"], order) is None
    twice = [*order, order[index].upper()]
    with pytest.raises(ValueError, match=rf"^class names '{order[index]}' and '{twice[-1]}' are one to CLIP"):
        names.check(twice)
    assert all(names.check(list(some)) == list(some) for some in itertools.permutations(order, 2))
