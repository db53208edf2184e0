"""Every method's run is a classifier; a method joins by its row in ``trainers.METHODS``."""

from __future__ import annotations

import pytest
import torch

import trainers
from classify import load_classifier
from tests.calls import CONFIGS
from tests.classify.conftest import BASE, NEW, evaluation, trained
from tests.often import some_often

# Shown how few-shot learning goes on, not how well: seconds, not minutes.
QUICK = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base", "TEST.NO_TEST", "True"]
ONLY_TRAINED = {"LinearProbe"}  # these cannot score other classes, and say so


OTHERS = [
    name
    for name in trainers.METHODS
    if name not in ("MMRL", "ZeroshotCLIP") and (CONFIGS / f"trainers/{name}/embedded.yaml").is_file()
]


OFTEN = {"CoOp", "CoCoOp", "MaPLe", "PLOT", "TipAdapter", "LinearProbe", "MMRLpp"}  # the rest is scored as one of these


@pytest.fixture(scope="module", params=some_often(OTHERS, OFTEN))
def run(request, tmp_path_factory, data):
    """A short run of a method, and its name."""
    return trained(request.param, tmp_path_factory.mktemp(request.param) / "run", data, *QUICK), request.param


def test_the_runs_own_classes_get_the_trainers_scores(run):
    folder, _ = run
    paths, scores = evaluation(folder, "base")
    classifier = load_classifier(folder, device="cpu")
    wanted = torch.cat([classifier.method.probabilities(batch) for batch in scores])
    assert classifier.classes == BASE and torch.equal(classifier.predict(paths, len(scores[0])), wanted)
    turned = load_classifier(folder, BASE[::-1], device="cpu")
    assert torch.allclose(turned.predict(paths, len(scores[0])), wanted.flip(-1), atol=1e-5)


def test_new_classes_get_the_trainers_scores_or_are_refused(run):
    folder, method = run
    if method in ONLY_TRAINED:
        with pytest.raises(ValueError, match=f"^{method} cannot score new classes: "):
            load_classifier(folder, NEW, device="cpu")
        return
    paths, scores = evaluation(folder, "new")
    classifier = load_classifier(folder, NEW, device="cpu")
    wanted = torch.cat([classifier.method.probabilities(batch) for batch in scores])
    assert torch.equal(classifier.predict(paths, len(scores[0])), wanted)
