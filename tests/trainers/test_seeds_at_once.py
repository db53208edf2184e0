"""Steps of several seeds at once: each seed's loss, scores and gradients are those of its own step."""

from __future__ import annotations

import pytest
import torch

from tests.agreement import relative
from trainers.shared import seeds

MMRL = "TRAINER.MMRL"


def values(trainer, numbers):
    """Loss, accuracy and gradients of a pass."""
    return {"loss": numbers[0], "acc": numbers[1]} | {n: p.grad.clone() for n, p in trainer.model.named_parameters()}


@pytest.mark.parametrize(
    ("method", "options", "bound"),
    [
        ("MMRL", (), 1e-5),
        ("MMRL", (f"{MMRL}.VARIANT", "wo_V"), 1e-5),
        ("MMRL", (f"{MMRL}.VARIANT", "wo_L"), 1e-5),
        ("CoOp", (), 1e-5),
        ("CoOp", ("TRAINER.COOP.CSC", True), 1e-5),
        ("KgCoOp", (), 1e-5),
        ("MaPLe", (), 1e-5),
        ("PromptSRC", (), 1e-5),
        ("MMRL", (f"{MMRL}.PREC", "fp16"), 0.05),
    ],
)
def test_a_joint_pass_gives_each_seed_what_its_own_gives(method, options, bound, make_trainer, one_batch):
    trainers = [make_trainer(method, "SEED", seed, *options) for seed in (1, 2, 3)]
    assert all(map(seeds.can, trainers))
    steps = [(trainer, *trainer.parse_batch_train(one_batch(trainer))) for trainer in trainers]
    steps[2] = (steps[2][0], steps[2][1][:-1], steps[2][2][:-1])  # of another size: it goes alone
    wants = [values(trainer, trainer.run_pass(images, labels)) for trainer, images, labels in steps]
    founds = [values(trainer, found) for (trainer, *_), found in zip(steps, seeds.passes(steps), strict=True)]
    for want, found in zip(wants, founds, strict=True):
        assert want.keys() == found.keys()
        assert {name: error for name in want if not (error := relative(found[name], want[name])) <= bound} == {}
    assert torch.equal(wants[2]["loss"], founds[2]["loss"])
    assert relative(wants[0]["loss"], wants[1]["loss"]) > 1e-3  # seeds differ


def test_what_a_pass_raises_comes_to_its_seeds_alone(make_trainer, one_batch):
    trainers = [make_trainer("MMRL", "SEED", seed) for seed in (1, 2, 3)]
    steps = [(trainer, *trainer.parse_batch_train(one_batch(trainer))) for trainer in trainers]
    steps[0] = (*steps[0][:2], steps[0][2] + 100)
    steps[2] = (trainers[2], steps[2][1][:-1], steps[2][2][:-1])
    first, second, third = seeds.passes(steps)
    assert isinstance(first, IndexError) and first is second and third.isfinite().all()


def test_what_cannot_be_taken_at_once_says_so(make_trainer):
    assert not seeds.can(make_trainer("MMRLpp"))  # it would inherit MMRL's
    assert not seeds.can(make_trainer("MMRL", "TRAINER.COMPILE", True))
