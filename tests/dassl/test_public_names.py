"""What trainers and train scripts of the family use of the public Dassl beside its loop: what it does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dassl.config import cfg_default, clean_cfg, defaults, get_cfg_default
from dassl.data import DatasetWrapper
from dassl.data.datasets import DatasetBase, build_dataset
from dassl.engine import Vanilla
from dassl.engine.trainer import SummaryWriter
from dassl.evaluation import Classification
from dassl.modeling.head import MLP
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.optim.lr_scheduler import ConstantWarmupScheduler
from dassl.optim.radam import PlainRAdam, RAdam
from dassl.utils import Logger, get_most_similar_str_to_a_from_b, init_network_weights
from dassl.utils.torchtools import adjust_learning_rate, set_bn_to_eval


def test_a_cleaned_configuration_has_one_trainer() -> None:
    cfg = get_cfg_default()
    clean_cfg(cfg, "MixMatch")
    assert set(cfg.TRAINER) == {"NAME", "MIXMATCH"}
    assert len(get_cfg_default().TRAINER) > 10


def test_what_is_added_to_the_default_configuration_is_in_each_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cfg_default is defaults._C
    monkeypatch.setitem(cfg_default.TRAINER, "MINE", defaults.CN({"WIDTH": 3}))
    assert get_cfg_default().TRAINER.MINE.WIDTH == 3
    get_cfg_default().TRAINER.MINE.WIDTH = 4
    assert cfg_default.TRAINER.MINE.WIDTH == 3


def test_names_that_are_slow_to_import_wait() -> None:
    """They are not imported with dassl.engine (tests/clip/test_tokenizer.py), and are there when they are asked for."""
    assert SummaryWriter.__name__ == "SummaryWriter"


def test_domains_that_a_dataset_has_not(cfg) -> None:
    class Places(DatasetBase):
        domains = ("art", "photo")

        def __init__(self) -> None: ...

    Places().is_input_domain_valid(["photo", "art"])
    with pytest.raises(ValueError, match="'phot' is not available; did you mean 'photo'?"):
        Places().is_input_domain_valid(["phot"])
    with pytest.raises(ValueError, match="'sketch'"):
        Places().check_input_domains(["art"], ["sketch"])


def test_a_wrapper_may_change_how_an_image_is_transformed(cfg) -> None:
    class Negative(DatasetWrapper):
        def _transform_image(self, tfm, img0):
            return -super()._transform_image(tfm, img0)

    def corner(image):
        return torch.tensor(image.getpixel((0, 0)))

    source = build_dataset(cfg).train_x
    plain, negative = (kind(cfg, source, transform=corner)[0]["img"] for kind in (DatasetWrapper, Negative))
    assert torch.equal(plain, -negative)


def test_matches_class_by_class(cfg) -> None:
    cfg.TEST.PER_CLASS_RESULT = True
    evaluator = Classification(cfg, lab2cname={0: "a", 1: "b"})
    evaluator.process(torch.eye(2)[[0, 1, 1]], torch.tensor([0, 0, 1]))
    assert evaluator._per_class_res == {0: [1, 0], 1: [1]}
    cfg.TEST.PER_CLASS_RESULT = False
    assert evaluator._per_class_res is None


def test_the_most_similar_name() -> None:
    assert get_most_similar_str_to_a_from_b("trainr", ["test", "trainer"]) == "trainer"
    assert get_most_similar_str_to_a_from_b("x", ["yy", "z"]) is None


def test_a_logger_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    logger = Logger()
    assert logger.file is None and logger.write("line\n") == 5
    logger.flush()
    logger.close()
    assert capsys.readouterr().out == "line\n"


def test_initial_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 50, 5), nn.BatchNorm2d(50), nn.Linear(200, 200), nn.InstanceNorm2d(4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    init_network_weights(model, gain=0.5)
    assert all(model[i].weight.std().item() == pytest.approx(0.5, rel=0.05) for i in (0, 2))
    assert model[1].weight.tolist() == [1.0] * 50
    assert not any(model[i].bias.any() for i in (0, 1, 2))
    init_network_weights(model, "orthogonal", gain=2.0)
    assert torch.allclose(model[2].weight @ model[2].weight.T, 4 * torch.eye(200), atol=1e-4)
    init_network_weights(model, "xavier", gain=1.0)
    assert model[2].weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.05)
    init_network_weights(model, "kaiming")
    assert model[0].weight.std().item() == pytest.approx((2 / 75) ** 0.5, rel=0.05)
    with pytest.raises(ValueError, match="'xavie' is not available; did you mean 'xavier'?"):
        init_network_weights(model, "xavie")


def test_rates_set_by_hand() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    adjust_learning_rate(optimizer, 0.5, 41)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
    adjust_learning_rate(optimizer, 0.5, 25, linear_decay=True, final_lr=0.1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4)


def test_batch_norms_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model.apply(set_bn_to_eval)
    assert [m.training for m in model] == [False, True]


def test_a_warm_up_tells_its_rates(capsys: pytest.CaptureFixture[str]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    after = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    scheduler = ConstantWarmupScheduler(optimizer, after, 2, 0.25, -1, True)
    optimizer.step()
    scheduler.step()
    assert capsys.readouterr().out == "Adjusting learning rate of group 0 to 2.5000e-01.\n" * 2


def test_a_heads_checkpoint_has_the_public_keys() -> None:
    assert list(MLP(4, [3], bn=False).state_dict()) == ["mlp.0.weight", "mlp.0.bias"]


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw", "radam", "rmsprop"])
def test_eps_reaches_the_optimiser(name: str) -> None:
    cfg = get_cfg_default().OPTIM
    cfg.NAME = name
    assert build_optimizer(nn.Linear(1, 1), cfg).param_groups[0]["eps"] == 1e-8
    cfg.EPS = 1e-3
    optimizer = build_optimizer(nn.Linear(1, 1), cfg)
    assert optimizer.param_groups[0]["eps"] == 1e-3
    assert build_lr_scheduler(optimizer, cfg).get_last_lr() == [cfg.LR]
    cfg.EPS = -1.0
    with pytest.raises(ValueError, match="OPTIM.EPS must be at least 0, not -1.0"):
        build_optimizer(nn.Linear(1, 1), cfg)
    del cfg["EPS"]  # as in a second node of optimiser settings that a trainer makes of public keys
    assert build_optimizer(nn.Linear(1, 1), cfg).param_groups[0]["eps"] == 1e-8


@pytest.mark.parametrize("kind", [RAdam, PlainRAdam])
def test_radam_takes_the_papers_steps(kind) -> None:
    """Algorithm 2 of the paper, with weights decayed directly; the first five steps are momentum's."""
    lr, (beta1, beta2), eps, decay = 0.1, (0.9, 0.95), 1e-3, 0.01
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = kind([weight], lr, (beta1, beta2), eps, decay)
    value, m, v, rectified = 1.0, 0.0, 0.0, 0
    longest = 2 / (1 - beta2) - 1
    for t in range(1, 13):
        gradient = (-1) ** t * 0.3 + t / 10
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        value -= lr * decay * value
        step = lr / (1 - beta1**t) * m
        if length > 5:
            rectified += 1
            shrink = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step *= (shrink * (1 - beta2**t)) ** 0.5 / (v**0.5 + eps)
        value -= step
        assert weight.item() == pytest.approx(value, rel=1e-10), t
    assert rectified == 7
    with pytest.raises(ValueError, match="leave out degenerated_to_sgd=False"):
        kind([weight], degenerated_to_sgd=False)


def trainer_of(parameter: nn.Parameter, lr: float) -> Vanilla:
    trainer = Vanilla.__new__(Vanilla)
    super(type(trainer).__mro__[2], trainer).__init__()  # TrainerBase's, which builds nothing
    model = nn.Module()
    model.weight = parameter
    trainer.register_model("model", model, torch.optim.SGD([parameter], lr=lr))
    return trainer


@pytest.mark.parametrize("lambda_", [1, 0.8])
@pytest.mark.parametrize(
    ("g_a", "g_b"),
    [((1.0, 2.0), (3.0, 1.0)), ((1.0, 2.0), (-3.0, 1.0)), ((1.0, 2.0), (0.0, 0.0)), ((-2.0, 0.5), (1.0, 1.0))],
)
def test_prograd_leaves_out_what_contradicts(g_a, g_b, lambda_: float) -> None:
    a, b = (torch.tensor(g, dtype=torch.float64) for g in (g_a, g_b))
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    trainer = trainer_of(weight, lr=1.0)
    trainer.prograd_backward_and_update((weight * a).sum(), (weight * b).sum(), lambda_)
    along = float(a @ b) / max(float(b.norm()), 1e-300)
    expected = a - lambda_ * along * b / b.norm() if along < 0 else a
    assert torch.allclose(weight.detach(), -expected, rtol=1e-12)
    assert torch.allclose(weight.grad, expected)


def test_prograd_stops_at_a_loss_that_is_not_finite() -> None:
    weight = nn.Parameter(torch.ones(2))
    trainer = trainer_of(weight, lr=1.0)
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, batch 1"):
        trainer.prograd_backward_and_update(weight.sum(), weight.sum() * float("nan"))
    assert weight.tolist() == [1.0, 1.0]
