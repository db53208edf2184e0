"""A run of each of MMRL's ablations is a classifier that scores as its trainer does."""

from __future__ import annotations

import pytest
import torch

from classify import load_classifier
from tests.classify.conftest import BASE, NEW, evaluation, trained
from tests.often import some_often

QUICK = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "TEST.NO_TEST", "True"]


@pytest.mark.parametrize(
    "variant", some_often(["wo_L", "wo_V", "wo_RS", "biased", "wo_DS1", "wo_DS2"], ["wo_V", "wo_DS2"])
)
def test_its_classifier_gets_the_trainers_scores(variant, tmp_path, data):
    folder = trained("MMRL", tmp_path / "run", data, *QUICK, "TRAINER.MMRL.VARIANT", variant)
    for subsample, classes in (("base", BASE), ("new", NEW)):
        paths, scores = evaluation(folder, subsample)
        classifier = load_classifier(folder, classes, device="cpu")
        wanted = torch.cat([classifier.method.probabilities(batch) for batch in scores])
        assert torch.equal(classifier.predict(paths, len(scores[0])), wanted)
        assert torch.allclose(wanted.sum(dim=1), torch.ones(len(wanted)), atol=1e-5)
