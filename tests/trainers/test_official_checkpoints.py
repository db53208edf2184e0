"""Checkpoints of the official releases, as their repositories write them, tested with train.py on base and new classes.

Their form stands in the method's reference (``Reference.checkpoints``).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import reference
import train
import trainers
from reference.shared.official import SHOTS, clip_weights
from runs import execute
from tests.few_digits import TESTED
from trainers.shared import backbone, base

CONFIGS = Path(train.__file__).parent / "configs"
OFFICIAL = [
    pytest.param(method, official, id=f"{method}-{official.config}")
    for method in trainers.METHODS
    for official in reference.of(method).checkpoints
]
# Tensors that no release of a method has, unless it learns them.
STRANGERS = (
    "vectors image_encoder.A image_encoder.proj_rep prompt_learner.ctxs text_encoder.B.weight text_adapter.1.up.bias"
).split()
NODES = {entry.node for entry in trainers.METHODS.values() if entry.node}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file(clip_weights(), path)
    return path


@pytest.fixture
def evaluate(weights, data_root, tmp_path, remembered, monkeypatch):
    """``evaluate(method, config, model, classes, epoch)``: the trainer that train.py built, loaded and tested."""

    monkeypatch.setattr(base, "load_clip", remembered(backbone.load_clip))
    monkeypatch.setattr(base, "weights_id", remembered(backbone.weights_id))

    def run(method, config, model, classes, *options):
        built = []
        original = execute.train_and_test

        def spy(cfg, args, this, trainers, made_by):
            results = original(cfg, args, this, trainers, made_by)
            built.extend(trainers)
            return results

        words = ["train.py", "--eval-only", "--root", data_root, "--output-dir", tmp_path / classes, "--seed", "1"]
        words += ["--trainer", method, "--dataset-config-file", CONFIGS / "datasets/digits.yaml"]
        words += ["--config-file", CONFIGS / f"trainers/{method}/{config}.yaml", "--model-dir", model, *options]
        words += ["MODEL.BACKBONE.NAME", weights, "INPUT.SIZE", "(32, 32)", "DATALOADER.NUM_WORKERS", "0"]
        words += ["DATASET.NUM_SHOTS", SHOTS, "DATASET.SUBSAMPLE_CLASSES", classes, "USE_CUDA", "False"]
        words += [word for node in NODES for word in (f"TRAINER.{node}.PREC", "fp32")]
        with monkeypatch.context() as patch:
            patch.setattr(execute, "train_and_test", spy)
            patch.setattr(sys, "argv", [str(word) for word in words])
            patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
            patch.setattr(sys, "stderr", sys.stderr)
            assert train.main() == 0
        assert built[0].evaluator._total == TESTED[classes]
        return built[0]

    return run


@pytest.mark.parametrize(("method", "official"), OFFICIAL)
def test_official_checkpoint_is_tested_on_base_and_new_classes(method, official, evaluate, tmp_path):
    folder, epoch = tmp_path / "official", None if official.best else official.epoch
    wanted = official.write(folder)
    for classes in ("base", "new"):
        options = [] if epoch is None else ["--load-epoch", epoch]
        trainer = evaluate(method, official.config, folder, classes, *options)
        found = trainer.model.state_dict()
        assert found.keys() == wanted.keys() | official.searched
        assert all(torch.equal(found[key].float(), value.float()) for key, value in wanted.items())
        assert not official.searched or trainer.model.seen == (classes == "base")
    if not official.folder:  # of single tensors, which have no names
        return
    alone = replace(official, frozen=dict, beside={})
    for stranger in STRANGERS:
        if stranger in official.learned or stranger.startswith(official.ignored):
            continue
        alone.write(folder, {stranger: torch.zeros(1)})
        with pytest.raises(ValueError, match=f"does not fit this run: {stranger} is unknown$"):
            trainer.load_model(str(folder), epoch)
