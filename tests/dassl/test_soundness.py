"""Scores that are not finite stop a test, whatever evaluator there is, before it can give a result."""

from __future__ import annotations

import pytest
import torch

from dassl.engine import build_trainer
from dassl.engine.soundness import Soundness
from dassl.evaluation import EVALUATOR_REGISTRY, EvaluatorBase


@EVALUATOR_REGISTRY.register()
class Believing(EvaluatorBase):
    """Takes every score for one, as an evaluator of somebody else's may."""

    def __init__(self, cfg, lab2cname=None):
        super().__init__(cfg)

    def reset(self):
        pass

    def process(self, mo, gt):
        pass

    def evaluate(self):
        print("=> result")
        return {"accuracy": 100.0}


@pytest.mark.parametrize("evaluator", ["Classification", "Believing"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_score_stops_the_test(value, evaluator, cfg, capsys, monkeypatch):
    cfg.TEST.EVALUATOR, cfg.DATALOADER.TEST.BATCH_SIZE = evaluator, 4
    trainer = build_trainer(cfg)
    assert trainer.test() >= 0 and "=> result" in capsys.readouterr().out
    seen = []

    def spoilt(images):
        seen.append(len(images))
        scores = torch.zeros(len(images), 3)
        if len(seen) == 2:
            scores[1:3, 2] = value
        return scores

    monkeypatch.setattr(trainer, "model_inference", spoilt)
    with pytest.raises(FloatingPointError) as caught:
        trainer.test()
    first = trainer.dm.dataset.test[5].impath
    assert str(caught.value) == (
        f"Vanilla gives 2 of 12 images of the test set scores that are NaN or infinite, first {first}: this is no "
        "result; its training diverged, or PREC is too coarse: use fp32"
    )
    assert "=> result" not in capsys.readouterr().out


def test_looking_at_a_batch_waits_for_no_device():
    scores = torch.empty(3, 2, device="meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        scores.isfinite().all().item()
    Soundness().look(scores, {"impath": ["a", "b", "c"]})


def test_batches_without_paths_and_scores_that_are_none():
    soundness = Soundness()
    soundness.look("text", None)
    soundness.check("M", "val")
    soundness.look(torch.zeros(2, 3), [])
    soundness.look(torch.tensor([[0.0], [float("nan")]]), {})
    with pytest.raises(FloatingPointError, match="^M gives 1 of 4 images of the val set scores .* first image 4: "):
        soundness.check("M", "val")
