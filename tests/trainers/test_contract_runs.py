"""What every method's runs must do: go on with the same bits after a kill, and predict as they evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import reference
import trainers
from classify import load, load_classifier
from runs.config import RESOLVED
from trainers.shared.backbone import load_clip, weights_id

NEW = ["five", "six", "seven", "eight", "nine"]


@pytest.fixture(autouse=True)
def classifiers_clip_is_loaded_once(remembered, monkeypatch):
    """Another than the trainers': what a run leaves in its own is not there."""

    def load_for_classifiers(*arguments):
        return load_clip(*arguments)

    monkeypatch.setattr(load, "load_clip", remembered(load_for_classifiers))
    monkeypatch.setattr(load, "weights_id", remembered(weights_id))


@pytest.mark.parametrize("method", trainers.METHODS)
def test_prediction_is_the_evaluation_and_a_killed_run_goes_on_with_the_same_bits(method, make_trainer, tmp_path):
    quick = ["TEST.NO_TEST", True, "OPTIM.MAX_EPOCH", 2]
    whole = make_trainer(method, *quick)
    whole.train()
    if method in reference.learning():
        killed_within_an_epoch_it_goes_on(whole, method, make_trainer, *quick, "OUTPUT_DIR", str(tmp_path / "killed"))
    predicts_as_it_evaluates(whole, method)


def killed_within_an_epoch_it_goes_on(whole, method, make_trainer, *options):
    killed = make_trainer(method, *options)
    step = killed.forward_backward

    def forward_backward(batch):
        if (killed.epoch, killed.batch_idx) == (1, min(2, killed.num_batches - 1)):
            raise KeyboardInterrupt
        return step(batch)

    killed.forward_backward = forward_backward
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = make_trainer(method, *options)
    resumed.train()
    assert resumed.start_epoch == 1
    found = resumed.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole.model.state_dict().items())


def predicts_as_it_evaluates(trainer, method):
    """And takes new classes, or says that it cannot."""
    run, images = trainer.output_dir, next(iter(trainer.test_loader))["img"][:8]
    Path(run).mkdir(exist_ok=True)  # a method that learns nothing has none yet
    Path(run, RESOLVED).write_text(trainer.cfg.dump(), encoding="utf-8")
    trainer.set_model_mode("eval")
    plugged = trainer.plugged
    plugged.use_classes(True)
    with torch.no_grad():
        wanted = plugged.probabilities(plugged.scores(images, plugged.class_features()))
    own = load_classifier(run, device="cpu")
    assert own.classes == ["zero", "one", "two", "three", "four"]
    assert torch.allclose(own.predict(images), wanted, atol=1e-6) and wanted.std(dim=0).max() > 1e-5
    if not reference.of(method).new_classes:
        with pytest.raises(ValueError, match=f"^{method} cannot score new classes: "):
            load_classifier(run, NEW, device="cpu")
        return
    found = load_classifier(run, NEW, device="cpu").predict(images)
    assert found.shape == (8, 5) and torch.allclose(found.sum(dim=1), torch.ones(8), atol=1e-5)
