"""Every run is a classifier: of each method in ``trainers.METHODS``, and of each of MMRL's ablations."""

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
VARIANTS = [f"MMRL {variant}" for variant in ("wo_L", "wo_V", "wo_RS", "biased", "wo_DS1", "wo_DS2")]
# The rest is scored as one of these.
OFTEN = {"CoOp", "CoCoOp", "MaPLe", "PLOT", "TipAdapter", "LinearProbe", "MMRLpp", "MMRL wo_V", "MMRL wo_DS2"}


@pytest.fixture(scope="module", params=some_often([*OTHERS, *VARIANTS], OFTEN))
def run(request, tmp_path_factory, data):
    """A short run of a method, and its name."""
    method, *variant = request.param.split()
    options = [*QUICK, *(word for name in variant for word in ("TRAINER.MMRL.VARIANT", name))]
    return trained(method, tmp_path_factory.mktemp(method) / "run", data, *options), method


def test_the_runs_own_classes_get_the_trainers_scores(run):
    folder, _ = run
    paths, scores = evaluation(folder, "base")
    classifier = load_classifier(folder, device="cpu")
    wanted = torch.cat([classifier.method.probabilities(batch) for batch in scores])
    assert classifier.classes == BASE and torch.equal(classifier.predict(paths, len(scores[0])), wanted)
    assert torch.allclose(wanted.sum(dim=1), torch.ones(len(wanted)), atol=1e-5)
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
