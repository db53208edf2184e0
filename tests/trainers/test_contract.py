"""What every method must do; a method joins by its row in ``trainers.METHODS``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import reference
import trainers
from tests.few_digits import TESTED
from trainers.shared import base, checkpoints

LEARNING = reference.learning()


def prec_of(method):
    """The key of a method's precision."""
    return f"TRAINER.{trainers.METHODS[method].node}.PREC"


@pytest.mark.parametrize("method", trainers.METHODS)
def test_trains_and_tests_base_then_new(method, make_trainer, capsys):
    trainer = make_trainer(method)
    trainer.train()
    log = capsys.readouterr().out
    assert re.search(r"\* accuracy: \d+\.\d%", log)
    assert 0 <= trainer.evaluator._correct <= trainer.evaluator._total == TESTED["base"]
    new = make_trainer(method, "DATASET.SUBSAMPLE_CLASSES", "new", "OUTPUT_DIR", trainer.output_dir + "-new")
    new.load_model(trainer.output_dir)
    if not reference.of(method).new_classes:
        with pytest.raises(ValueError, match=f"^{method} cannot score new classes: "):
            new.test()
        return
    assert 0 <= new.test() <= 100
    assert new.evaluator._total == TESTED["new"]


@pytest.mark.parametrize("method", LEARNING)
def test_lowers_its_loss_and_touches_nothing_else(method, make_trainer, one_batch):
    trainer = make_trainer(method)
    frozen = {name: value.clone() for name, value in trainer.model.clip_model.state_dict().items()}
    learned = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    batch = one_batch(trainer)
    trainer.epoch, trainer.num_batches = 0, 1000
    losses = []
    for trainer.batch_idx in range(8):
        losses.append(trainer.forward_backward(batch)["loss"])
    assert losses[-1] < losses[0]
    assert not any(torch.equal(value, learned[name]) for name, value in trainer.model.named_parameters())
    after = trainer.model.clip_model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())


@pytest.mark.parametrize("method", LEARNING)
def test_checkpoint_restores_the_learned_tensors_exactly(method, make_trainer):
    trainer = make_trainer(method, "OPTIM.MAX_EPOCH", 1)
    trainer.train()
    other = make_trainer(method, "SEED", 2)
    names = dict(other.model.named_parameters())
    assert any(not torch.equal(value, names[name]) for name, value in trainer.model.named_parameters())
    other.load_model(trainer.output_dir, epoch=1)
    assert all(torch.equal(value, names[name]) for name, value in trainer.model.named_parameters())
    assert other.test() == trainer.test()


@pytest.mark.parametrize("method", LEARNING)
def test_checkpoint_holds_what_was_learned_only(method, make_trainer):
    trainer = make_trainer(method)
    trainer.save_model(0, trainer.output_dir)
    folder = f"{trainer.output_dir}/{trainer.registered_name}"
    tensors, about = checkpoints.read(f"{folder}/model-1.safetensors")
    assert set(tensors) == {name for name, _ in trainer.model.named_parameters()} | reference.of(method).beside
    assert (about["method"], about["epoch"], about["dataset"]) == (method, 1, "Digits")
    assert about["classnames"] == ["zero", "one", "two", "three", "four"]
    assert about["template"] == "a photo of the digit {}." and about["config"]["INPUT"]["SIZE"] == [32, 32]
    assert sorted(path.name for path in Path(folder).iterdir()) == ["checkpoint", "model-1.safetensors"]
    assert Path(folder, "checkpoint").read_text() == "model-1.safetensors\n"


@pytest.mark.parametrize("method", LEARNING)
@pytest.mark.parametrize("precision", ["amp", "bf16", "fp16"])
def test_precisions_stay_close_to_fp32(method, precision, make_trainer, one_batch, capsys):
    exact = make_trainer(method, prec_of(method), "fp32")
    trainer = make_trainer(method, prec_of(method), precision)
    if precision == "amp":
        assert "PREC amp needs CUDA; on cpu this run uses fp32" in capsys.readouterr().out
    images, labels = exact.parse_batch_train(one_batch(exact))
    with exact.autocast():
        want, _ = exact.model.loss(images, labels)
    with trainer.autocast():
        loss, scores = trainer.model.loss(images, labels)
    assert loss.dtype == scores.dtype == torch.float32
    half = reference.of(method).bounds.get("half", 0.05)
    assert abs(loss - want) <= (1e-6 if precision == "amp" else half) * want.abs()
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in trainer.model.parameters())


@pytest.mark.parametrize("method", LEARNING)
def test_loss_that_is_not_finite_stops_the_run_and_names_the_batch(method, make_trainer, one_batch):
    trainer = make_trainer(method)
    batch = one_batch(trainer)
    batch["img"][0] = float("nan")
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 1, 2, 5
    before = [value.clone() for value in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match=r"^the loss is nan at epoch 2, batch 3 \(first image: .*\.png\)"):
        trainer.forward_backward(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


@pytest.mark.parametrize("method", trainers.METHODS)
def test_class_features_are_computed_once_per_evaluation(method, make_trainer, monkeypatch):
    trainer = make_trainer(method, "DATALOADER.TEST.BATCH_SIZE", 50)
    calls = []
    compute = trainer.model.class_features
    monkeypatch.setattr(trainer.model, "class_features", lambda: calls.append(1) or compute())
    trainer.test()
    assert len(calls) == 1
    trainer.test()
    assert len(calls) == 2


@pytest.mark.parametrize("method", trainers.METHODS)
def test_images_are_scored_in_order_however_many_pass_at_a_time(method, make_trainer, monkeypatch):
    trainer = make_trainer(method)
    trainer.test()
    whole = trainer.evaluator._correct
    sizes, compute = [], trainer.model.scores
    monkeypatch.setattr(base, "CPU_PASS", 7)
    monkeypatch.setattr(trainer.model, "scores", lambda x, features: sizes.append(len(x)) or compute(x, features))
    trainer.test()
    assert trainer.evaluator._correct == whole
    assert max(sizes) == 7 and sum(sizes) == trainer.evaluator._total


@pytest.mark.parametrize("method", LEARNING)
def test_unknown_precision_is_refused(method, make_trainer):
    with pytest.raises(ValueError, match=rf"^{prec_of(method)} is 'half': choose one of fp32, fp16, amp"):
        make_trainer(method, prec_of(method), "half")


def test_unknown_method_is_named():
    with pytest.raises(ValueError, match="^unknown trainer 'MRML': the methods are .*, MMRL, "):
        trainers.load("MRML")


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARNING)
def test_compiled_step_equals_the_plain_one(method, make_trainer, one_batch):
    compiled = make_trainer(method, "TRAINER.COMPILE", True)
    plain = make_trainer(method)
    batch = one_batch(plain)
    for trainer in (compiled, plain):
        trainer.epoch, trainer.num_batches = 0, 1000
        for trainer.batch_idx in range(2):
            trainer.last = trainer.forward_backward(batch)
    assert compiled.last == pytest.approx(plain.last, rel=1e-4)
    for ours, theirs in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
