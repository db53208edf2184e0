"""Plug-ins: every pair with a method, what a run with them is called and keeps, and the hooks of the contract."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import train
import trainers
from clip.draws import perform
from runs import config
from runs.config import build_cfg
from runs.plan import describe, identify
from runs.protocols import Run
from tests.few_digits import TESTED
from tests.trainers.test_contract_runs import killed_within_an_epoch_it_goes_on, predicts_as_it_evaluates
from tools import plugins, probing, support
from trainers.plugins import PLUGINS, Entry
from trainers.plugins.contract import Plugin, Seen
from trainers.plugins.settings import PluginSettings
from trainers.shared import checkpoints
from trainers.shared.settings import at_least

TITLES = [f"{method}+{plugin}" for method in trainers.METHODS for plugin in PLUGINS]
JOINT = ["TASK", "JOINT", "DATASET.SUBSAMPLE_CLASSES", "all", "OUTPUT_DIR", ""]
DIGITS = ["--dataset-config-file", "configs/datasets/digits.yaml"]


@pytest.fixture(scope="module")
def page():
    return (support.ROOT / plugins.PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("title", TITLES)
def test_a_pair_runs_or_says_why_not(title, page):
    """A step and an evaluation; docs/plugins.md says the same."""
    reason = probing.probe_plugin(title, torch.device("cpu"))
    method, plugin = title.split("+")
    assert not reason or re.fullmatch(rf"TRAINER.PLUGINS: {plugin} (needs|cannot) .*\b{method}\b.*", reason)
    (row,) = [line.split("|")[2:-1] for line in page.splitlines() if line.startswith(f"| `{method}` ")]
    cell = row[list(PLUGINS).index(plugin)].strip()
    assert (cell == "yes") == (not reason), "run python tools/plugins.py"
    if reason:
        assert f'- {cell.removeprefix("no ")} "{plugins.without_method(title, reason)}"' in page


@pytest.mark.parametrize("title", ["CoOp+DePT", "TCP+DePT+DeKg"])
def test_runs_go_on_after_a_kill_and_predict_as_they_evaluate(title, make_trainer, tmp_path):
    quick = ["TEST.NO_TEST", True, "OPTIM.MAX_EPOCH", 2]
    whole = make_trainer(title, *quick)
    whole.train()
    killed_within_an_epoch_it_goes_on(whole, title, make_trainer, *quick, "OUTPUT_DIR", str(tmp_path / "killed"))
    predicts_as_it_evaluates(whole, title.partition("+")[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close_to_fp32(precision, make_trainer, one_batch):
    found = {}
    for one in ("fp32", precision):
        trainer = make_trainer("TCP+DePT+DeKg", "TRAINER.COOP.PREC", one, "TRAINER.DEKG.LOSS_WEIGHT", 1000.0)
        images, labels = trainer.parse_batch_train(one_batch(trainer))
        with trainer.autocast():
            loss, _ = trainer.plugged.loss(images, labels)
            scores = trainer.plugged.scores(images, trainer.plugged.class_features())
        loss.backward()
        assert loss.dtype == scores.dtype == torch.float32
        assert all(value.grad.isfinite().all() for value in trainer.model.parameters())
        found[one] = loss.detach()
    assert torch.isclose(*found.values(), rtol=0.05)


def test_dept_keeps_its_tensors_and_scores_new_classes_without_them(make_trainer):
    trainer = make_trainer("CoOp+DePT", "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True, "OPTIM.LR", 0.002)
    (host, dept) = trainer.optim.param_groups
    assert [value.shape for value in host["params"]] == [(6, 64)] and len(dept["params"]) == 6
    assert (host["initial_lr"], dept["initial_lr"]) == (0.002, pytest.approx(0.013))
    trainer.train()
    tensors, about = checkpoints.read(Path(trainer.output_dir, "prompt_learner", "model-1.safetensors"))
    films = {f"DePT.film_lp_{side}.{name}" for side in ("img", "text") for name in ("scale", "bias")}
    assert set(tensors) == {"ctx", "DePT.linear_probe_proj.weight", "DePT.linear_probe_proj.bias"} | films
    assert about["method"] == "CoOp+DePT" and about["plugins"]["DePT"]["LINEAR_PROBE_WEIGHT"] == 0.7

    new = make_trainer("CoOp+DePT", "DATASET.SUBSAMPLE_CLASSES", "new", "OUTPUT_DIR", "")
    new.load_model(trainer.output_dir)
    new.test()
    assert new.evaluator._total == TESTED["new"]
    images = next(iter(new.test_loader))["img"][:3]
    with torch.no_grad():
        own = new.model.scores(images, new.model.class_features())
        assert torch.allclose(new.plugged.scores(images, new.plugged.class_features()), own)
        some = ["three", "one"]  # of those trained on, as ImageNet's variants have them
        picked = make_trainer("CoOp+DePT").plugged.plugins["DePT"]
        picked.classnames = some
        picked.fit_to({name.removeprefix("DePT."): value for name, value in tensors.items()}, about["classnames"])
        picked.load_state_dict(trainer.model.DePT.state_dict())
        seen = Seen(trainer.model, None, trainer.model.raw_image_features(images))
        of_all = trainer.model.DePT.scores(seen, torch.zeros(3, 5))
        assert torch.equal(picked.scores(seen, torch.zeros(3, 2)), of_all[:, [3, 1]])
    joint = make_trainer("CoOp+DePT", *JOINT)
    joint.load_model(trainer.output_dir)
    joint.test()
    with torch.no_grad():
        images = next(iter(joint.test_loader))["img"]
        own = joint.model.scores(images, joint.model.class_features()).log_softmax(dim=-1)
    assert torch.allclose(joint.by_rule[0][:, 0], own, atol=1e-5)
    plain = make_trainer("CoOp")
    with pytest.raises(ValueError, match=r"does not fit this run: method is CoOp\+DePT there, CoOp here"):
        plain.load_model(trainer.output_dir)


def test_depts_head_is_drawn_behind_the_hosts_tensors(make_trainer):
    """As in its public code, with OFFICIAL_STREAM; what DeKg's draws in its steps is not known."""
    trainer = make_trainer("CoOp+DePT", "OFFICIAL_STREAM", True)
    torch.manual_seed(1)
    assert list(perform(trainer.official_draws(trainer.cfg, trainer.model)))
    wanted = torch.nn.Linear(32, 5).state_dict()
    assert all(torch.equal(trainer.model.DePT.linear_probe_proj.get_parameter(name), wanted[name]) for name in wanted)
    with pytest.raises(ValueError, match=r"^--official-stream .* public code of TCP\+DeKg draws is not known here"):
        make_trainer("TCP+DeKg", "OFFICIAL_STREAM", True)


@dataclass(frozen=True)
class ShiftSettings(PluginSettings, path="TRAINER.SHIFT"):
    """Of the plug-in below."""

    public_draws: ClassVar[None] = None
    by: float = at_least(0, 1.0)


class Shift(Plugin):
    """Adds to scores what it finds on validation images."""

    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer("found", torch.zeros(()))

    def scores(self, seen, scores):
        assert seen.host.one_feature_per_class(seen.class_features).shape == (scores.shape[1], 32)
        return scores + self.found

    def fit(self, batches):
        each = [(batch.scores.mean(), len(batch.labels)) for batch in batches()]
        assert [count for _, count in each] == [20]
        self.found.copy_(self.settings.by * each[0][0])


@pytest.fixture
def shift(monkeypatch):
    """Two plug-ins that fit: the second sees the scores of the first."""
    for name in ("Shift", "Again"):
        monkeypatch.setitem(PLUGINS, name, Entry(__name__, ShiftSettings))


class Again(Shift):
    """After the first, whose mean it finds to be twice the host's."""


@pytest.mark.parametrize("method", ["CoOp", "MMRL"])
def test_a_plug_in_is_fitted_to_validation_images_and_its_numbers_are_kept(method, make_trainer, shift, tmp_path):
    quick = ["OPTIM.MAX_EPOCH", 2, "TRAIN.CHECKPOINT_FREQ", 1, "TEST.NO_TEST", True, "TRAINER.SHIFT.BY", 3.0]
    trainer = make_trainer(f"{method}+Shift+Again", *quick)
    trainer.train()
    plain = make_trainer(method, *quick, "OUTPUT_DIR", str(tmp_path / "plain"))
    plain.train()
    tensors = trainer.model.state_dict()
    assert all(torch.equal(value, tensors[name]) for name, value in plain.model.state_dict().items())  # nothing drawn
    first, second = tensors["Shift.found"], tensors["Again.found"]
    assert first != 0 and torch.isclose(second, 4 * first, rtol=1e-4)
    other = make_trainer(f"{method}+Shift+Again", *quick)
    other.load_model(trainer.output_dir)
    images = next(iter(plain.test_loader))["img"][:4]
    for one in (plain, other):
        one.set_model_mode("eval")
        one.plugged.use_classes(True)
    with torch.no_grad():
        found = other.plugged.scores(images, other.plugged.class_features())
        wanted = plain.model.scores(images, plain.model.class_features()) + first + second
    assert torch.allclose(found, wanted, atol=1e-5)
    rules = {}
    for title, folder in ((method, plain.output_dir), (f"{method}+Shift+Again", trainer.output_dir)):
        joint = make_trainer(title, *quick, *JOINT)
        joint.load_model(folder)
        joint.test()
        rules[title] = torch.cat(joint.by_rule)  # [N, R, C], log-probabilities: the same whatever is added to all
    assert torch.allclose(*rules.values(), atol=1e-4) and rules[method].shape[1] == len(plain.model.rules)


def test_what_a_run_is_called():
    """A title, an official name and the key come to the same run, which is none of the host's."""

    def facts(*words):
        args = train.parse_args([*DIGITS, *words])
        cfg = build_cfg(args)
        return describe(cfg, args)["method"], identify(cfg, args)

    plain, (title, whole) = facts("--trainer", "KgCoOp"), facts("--trainer", "KgCoOp+DeKg")
    assert (plain[0], title) == ("KgCoOp", "KgCoOp+DeKg")
    assert facts("--trainer", "DeKg") == facts("--trainer", "KgCoOp", "TRAINER.PLUGINS", "[DeKg]") == (title, whole)
    assert whole == {**plain[1], "TRAINER.PLUGINS": ["DeKg"], "TRAINER.DEKG.LOSS_WEIGHT": 6.0}
    cfg = build_cfg(train.parse_args([*DIGITS, "--trainer", "KgCoOp+DeKg"]))
    assert config.identity_defaults(cfg).keys() >= whole.keys() - {key for key in whole if key.startswith("run.")}
    run = Run("base2new_train", "digits", "CoOp+DePT", "embedded", 16, 1)
    assert run.name == "base2new/train_base/digits/shots_16/CoOp+DePT/embedded/seed1"
    assert "configs/trainers/CoOp+DePT/embedded.yaml" in " ".join(run.arguments("", ""))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--trainer", "CoOp+DePTh"], "TRAINER.PLUGINS: there is no plug-in 'DePTh'; did you mean DePT?"),
        (["--trainer", "CoOp+DePT+DePT"], "TRAINER.PLUGINS names DePT twice"),
        (["--trainer", "CoOp+DePT", "TRAINER.DEPT.LR_EXP", "0"], "TRAINER.DEPT.LR_EXP must be more than 0, not 0.0"),
        (
            ["--trainer", "CoOp+DePT", "TRAINER.PLUGINS", "[DeKg]"],
            "TRAINER.PLUGINS is given twice, by --trainer CoOp",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}"):
        build_cfg(train.parse_args([*DIGITS, *words]))


def test_a_pair_that_cannot_be_is_refused_before_training(make_trainer):
    line = "TRAINER.PLUGINS: DePT needs image features [B, d] and class features [C, d] whose cosines are its scores"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}.*; TipAdapterF does not offer them$"):
        make_trainer("TipAdapterF+DePT")
