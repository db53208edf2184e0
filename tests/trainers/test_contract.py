"""What every method must do; a method joins by its row in ``trainers.METHODS``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

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
    if method in LEARNING:  # its checkpoint restores the learned tensors exactly
        other = make_trainer(method, "SEED", 2)
        names = dict(other.model.named_parameters())
        assert any(not torch.equal(value, names[name]) for name, value in trainer.model.named_parameters())
        other.load_model(trainer.output_dir, epoch=3)
        assert all(torch.equal(value, names[name]) for name, value in trainer.model.named_parameters())
        other.test()
        assert other.evaluator._correct == trainer.evaluator._correct
    new = make_trainer(method, "DATASET.SUBSAMPLE_CLASSES", "new", "OUTPUT_DIR", trainer.output_dir + "-new")
    words = "TASK", "JOINT", "DATASET.SUBSAMPLE_CLASSES", "all", "OUTPUT_DIR", trainer.output_dir + "-joint"
    joint = make_trainer(method, *words)
    for other in (new, joint):
        other.load_model(trainer.output_dir)
        if not reference.of(method).new_classes:
            with pytest.raises(ValueError, match=f"^{method} cannot score new classes: "):
                other.test()
    if reference.of(method).new_classes:
        assert 0 <= new.test() <= 100
        assert new.evaluator._total == TESTED["new"]
        assert_joint_scores_are_those_of_both_sides(joint, trainer, new)


def assert_joint_scores_are_those_of_both_sides(joint, base, new):
    """Among one side's classes scores are those of the run on that side, however a method treats the other's."""
    joint.test()
    by_rule = torch.cat(joint.by_rule)  # [N, R, C]
    assert by_rule[:, 0].argmax(dim=1).tolist() == joint.evaluator._y_pred
    assert torch.allclose(by_rule.exp().sum(dim=-1), torch.ones(()), atol=1e-5)
    images = next(iter(joint.test_loader))["img"][:5]
    for trainer, classes, rule in ((base, slice(0, 5), "both"), (new, slice(5, 10), "")):
        if trainer is base and getattr(trainer.settings, "fusion", "") == "probs":
            continue  # mixed probabilities of fewer classes are others
        trainer.model.use_classes(trainer is base)
        with torch.no_grad():
            want = trainer.model.log_probabilities(trainer.model.scores(images, trainer.model.class_features()))
        place = next((i for i, name in enumerate(joint.model.rules) if rule in name), 0)
        assert torch.allclose(by_rule[:5, place, classes].log_softmax(dim=-1), want, atol=1e-4)


@pytest.mark.parametrize("method", LEARNING)
def test_lowers_its_loss_and_touches_nothing_else(method, make_trainer, one_batch):
    """Its checkpoint holds what it learns only, and a loss that is not finite stops it."""
    trainer = make_trainer(method)
    trainer.save_model(0, trainer.output_dir)
    folder = Path(trainer.output_dir, trainer.registered_name)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "model-1.safetensors"]
    assert (folder / "checkpoint").read_text() == "model-1.safetensors\n"
    tensors, about = checkpoints.read(folder / "model-1.safetensors")
    assert set(tensors) == {name for name, _ in trainer.model.named_parameters()} | reference.of(method).beside
    assert (about["method"], about["epoch"], about["dataset"]) == (method, 1, "Digits")
    assert about["classnames"] == ["zero", "one", "two", "three", "four"]
    assert about["template"] == "a photo of the digit {}." and about["config"]["INPUT"]["SIZE"] == [32, 32]

    frozen = load_file(trainer.cfg.MODEL.BACKBONE.NAME)
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

    batch["img"][0] = float("nan")
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 1, 2, 5
    before = [value.clone() for value in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match=r"^the loss is nan at epoch 2, batch 3 \(first image: .*\.png\)"):
        trainer.forward_backward(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


@pytest.mark.parametrize("method", LEARNING)
def test_precisions_stay_close_to_fp32(method, make_trainer, one_batch, capsys):
    exact = make_trainer(method, prec_of(method), "fp32")
    images, labels = exact.parse_batch_train(one_batch(exact))
    with exact.autocast():
        want, _ = exact.model.loss(images, labels)
    half = reference.of(method).bounds.get("half", 0.05)
    for precision, bound in {"amp": 1e-6, "bf16": half, "fp16": half}.items():
        trainer = make_trainer(method, prec_of(method), precision)
        if precision == "amp":
            assert "PREC amp needs CUDA; on cpu this run uses fp32" in capsys.readouterr().out
        with trainer.autocast():
            loss, scores = trainer.model.loss(images, labels)
        assert loss.dtype == scores.dtype == torch.float32
        assert abs(loss - want) <= bound * want.abs(), precision
        loss.backward()
        assert all(torch.isfinite(value.grad).all() for value in trainer.model.parameters()), precision


@pytest.mark.parametrize("method", trainers.METHODS)
def test_evaluates_in_order_with_class_features_computed_once(method, make_trainer, monkeypatch):
    """However many images pass at a time."""
    trainer = make_trainer(method, "DATALOADER.TEST.BATCH_SIZE", 50)
    calls, sizes = [], []
    class_features, scores = trainer.model.class_features, trainer.model.scores
    monkeypatch.setattr(trainer.model, "class_features", lambda: calls.append(1) or class_features())
    monkeypatch.setattr(trainer.model, "scores", lambda x, features: sizes.append(len(x)) or scores(x, features))
    trainer.test()
    assert (len(calls), sum(sizes)) == (1, trainer.evaluator._total) and max(sizes) > 7
    whole = trainer.evaluator._correct
    trainer.model.use_classes(True)
    some = scores(next(iter(trainer.test_loader))["img"][:3], class_features())
    assert torch.allclose(trainer.model.log_probabilities(some).exp(), trainer.model.probabilities(some), atol=1e-6)
    sizes.clear()
    monkeypatch.setattr(base, "CPU_PASS", 7)
    trainer.test()
    assert (len(calls), max(sizes), sum(sizes)) == (2, 7, trainer.evaluator._total)
    assert trainer.evaluator._correct == whole


@pytest.mark.parametrize("method", LEARNING)
def test_unknown_precision_is_refused(method, make_trainer):
    with pytest.raises(ValueError, match=rf"^{prec_of(method)} is 'half': choose one of fp32, fp16, amp"):
        make_trainer(method, prec_of(method), "half")


def test_unknown_method_is_named():
    with pytest.raises(ValueError, match="^unknown trainer 'MRML': the methods are .*, MMRL, "):
        trainers.load("MRML")


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in LEARNING if method != "CLIP_LoRA"])  # which refuses
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
