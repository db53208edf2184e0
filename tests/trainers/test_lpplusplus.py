"""LP++: which step is kept, and which classes have what was learned."""

from __future__ import annotations

import pytest
import torch

from clip.model import CLIP
from trainers import lpplusplus
from trainers.lpplusplus import LPppModel
from trainers.shared.cosine import cosine_logits, l2_normalize


def test_keeps_the_last_of_the_best_steps(make_trainer, monkeypatch):
    def learned(count, selection):
        trainer = make_trainer("LinearProbe_P2", "TRAINER.LPPP.TRAIN_EPOCH", count, "TRAINER.LPPP.SELECTION", selection)
        torch.manual_seed(0)  # of the crops
        trainer.fit()
        return trainer.model.state_dict()

    accuracies = iter([10.0, 30.0, 30.0, 20.0])
    monkeypatch.setattr(lpplusplus, "accuracy_of", lambda *_: next(accuracies))
    best, last = learned(4, "val"), learned(3, "last")
    assert all(torch.equal(value, best[name]) for name, value in last.items())


@pytest.mark.parametrize(("classnames", "rows"), [("cab", [2, 0, 1]), ("ca", [2, 0]), ("cd", None)])
def test_classes_that_were_trained_on_keep_their_rows(classnames, rows):
    """In any order and number, as ImageNet-A's of ImageNet; others are zero-shot CLIP's."""
    clip_model = CLIP(8, 16, 1, 64, 8, 77, 62, 64, 1, 1)
    text, f = l2_normalize(torch.randn(len(classnames), 8)), l2_normalize(torch.randn(3, 8))
    model = LPppModel(clip_model, list(classnames), text)
    shapes = {"classifier.weight": (3, 8), "classifier.bias": (3,), "alpha_vec": (1, 3)}
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    model.fit_to(tensors, list("abc"))
    model.load_state_dict(tensors)
    wanted = cosine_logits(clip_model, f, text)
    if rows is not None:
        w, b, alpha = (value[..., rows] for value in (tensors["classifier.weight"].t(), *list(tensors.values())[1:]))
        wanted = f @ w + b + alpha * (f @ text.t())
    torch.testing.assert_close(model.class_features()(f), wanted)
