"""Training from end to end on generated images: logs, checkpoints, resume, failures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

from dassl.data.transforms import build_transform
from dassl.engine import TRAINER_REGISTRY, SimpleNet, TrainerBase, TrainerXU, Vanilla, build_trainer
from dassl.engine.rolling import RESUME_FILE
from dassl.modeling import build_backbone
from dassl.utils import load_checkpoint, set_random_seed

LINE = re.compile(
    r"epoch \[(\d)/4\] batch \[(\d)/3\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr (\d\.\d{4}e-\d\d) eta \d:\d\d:\d\d"
)


def fresh(cfg):
    """A trainer as the command line builds it."""
    set_random_seed(0)
    return build_trainer(cfg)


def weights(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_training_run(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    cfg.TRAIN.PRINT_FREQ = 4  # more than an epoch has: each batch has its line
    trainer = fresh(cfg)
    before = weights(trainer).clone()
    trainer.train()
    out = capsys.readouterr().out
    found = [match.groups() for match in map(LINE.fullmatch, out.splitlines()) if match]
    rates = ["1.0000e-05", "1.0000e-02", "8.5355e-03", "5.0000e-03"]
    # the last batch's line comes after the schedule was stepped, as in Dassl
    expected = [(str(e + 1), str(b), rates[e]) for e in range(4) for b in (1, 2)]
    assert [line for line in found if line[1] != "3"] == expected
    assert len(found) == 12
    tail = out[out.index("Finish training") :]
    assert re.fullmatch(
        r"Finish training\nDeploy the last-epoch model\nEvaluate on the \*test\* set\n=> result\n"
        r"\* total: 12\n\* correct: \d+\n\* accuracy: .*%\n\* error: .*%\n\* macro_f1: .*%\n"
        r"Elapsed: \d:\d\d:\d\d\n",
        tail,
    )
    assert not torch.equal(weights(trainer), before)
    folder = Path(cfg.OUTPUT_DIR)
    assert sorted(p.name for p in folder.iterdir()) == ["model", "tensorboard"]
    checkpoint = load_checkpoint(folder / "model" / "model.pth.tar-4")
    assert set(checkpoint) == {"state_dict", "epoch", "optimizer", "scheduler", "val_result"}

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/acc", "train/lr", "test/accuracy"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == list(range(12))


def test_lines_come_at_the_print_frequency(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    cfg.TRAIN.PRINT_FREQ = 2
    fresh(cfg).train()
    assert re.findall(r"batch \[(\d)/3\]", capsys.readouterr().out) == ["2"] * 4


def test_an_epoch_has_one_line_where_nothing_asks_for_more(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    fresh(cfg).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch [")]
    form = r"epoch \[(\d)/4\] loss \d+\.\d{4} acc \d+\.\d{4} lr (\S+) time \d+\.\d s eta 0:00:\d\d"
    rates = ["1.0000e-05", "1.0000e-02", "8.5355e-03", "5.0000e-03"]  # that the epoch trained with
    assert [re.fullmatch(form, line).groups() for line in lines] == [(str(e + 1), rate) for e, rate in enumerate(rates)]


def interrupt(trainer, epoch: int, batch: int) -> None:
    """Train until the given batch, then die as if killed."""
    step = trainer.forward_backward

    def dying(data):
        if (trainer.epoch, trainer.batch_idx) == (epoch, batch):
            raise KeyboardInterrupt
        return step(data)

    trainer.forward_backward = dying
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.close_writer()


def test_a_trainer_with_its_own_hooks_still_resumes(cfg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vanilla, "after_epoch", lambda self: None)
    interrupt(fresh(cfg), 1, 0)
    assert fresh(cfg).resume_model_if_exist(cfg.OUTPUT_DIR) == 1


def test_gradient_scaler_is_kept(cfg) -> None:
    trainer = fresh(cfg)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer.save_resume_state(cfg.OUTPUT_DIR)
    other = fresh(cfg)
    other.scaler = torch.amp.GradScaler("cpu")
    other.resume_model_if_exist(cfg.OUTPUT_DIR)
    assert other.scaler.state_dict()["scale"] == 8.0


def test_resume_sources(cfg, tmp_path: Path) -> None:
    first = fresh(cfg)
    assert first.resume_model_if_exist(cfg.OUTPUT_DIR) == 0
    first.epoch = 1
    first.save_model(1, cfg.OUTPUT_DIR)
    other = build_trainer(cfg)
    assert not torch.equal(weights(other), weights(first))
    assert other.resume_model_if_exist(cfg.OUTPUT_DIR) == 2
    assert torch.equal(weights(other), weights(first))

    other.register_model("second", torch.nn.Linear(1, 1))
    first.save_resume_state(str(tmp_path))
    with pytest.raises(ValueError, match="other models than"):
        other.resume_model_if_exist(str(tmp_path))
    (tmp_path / RESUME_FILE).write_bytes(b"half a file")
    with pytest.raises(ValueError, match="damaged"):
        first.resume_model_if_exist(str(tmp_path))


def test_loading_models(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = fresh(cfg)
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*model-best.pth.tar; the folder has none"):
        trainer.load_model(cfg.OUTPUT_DIR)
    trainer.save_model(0, cfg.OUTPUT_DIR)
    trainer.save_model(1, cfg.OUTPUT_DIR)
    capsys.readouterr()
    trainer.load_model(cfg.OUTPUT_DIR)
    assert "model.pth.tar-2 to model (epoch=2, val_result=none)" in capsys.readouterr().out
    trainer.load_model(cfg.OUTPUT_DIR, epoch=1)
    assert "epoch=1" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="tar-9; the folder has model.pth.tar-1, model.pth.tar-2"):
        trainer.load_model(cfg.OUTPUT_DIR, epoch=9)
    trainer.save_model(0, cfg.OUTPUT_DIR, val_result=50.0, model_name="model-best.pth.tar")
    trainer.load_model(cfg.OUTPUT_DIR)
    assert "model-best.pth.tar to model (epoch=1, val_result=50.0)" in capsys.readouterr().out
    trainer.load_model("")
    assert "skipped" in capsys.readouterr().out


def test_best_model_is_selected_on_validation(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    cfg.TEST.FINAL_MODEL = "best_val"
    cfg.TRAIN.CHECKPOINT_FREQ = 2
    trainer = fresh(cfg)
    results = iter([30.0, 70.0, 50.0, 70.0])
    test = trainer.test
    trainer.test = lambda split=None: next(results) if split == "val" else test(split)
    trainer.train()
    out = capsys.readouterr().out
    assert "Deploy the model with the best val performance" in out
    assert "model-best.pth.tar to model (epoch=2, val_result=70.0)" in out
    names = {p.name for p in (Path(cfg.OUTPUT_DIR) / "model").iterdir()}
    assert names == {"checkpoint", "model-best.pth.tar", "model.pth.tar-2", "model.pth.tar-4"}


def test_splits(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = fresh(cfg)
    capsys.readouterr()
    accuracy = trainer.test(split="val")
    out = capsys.readouterr().out
    assert "Evaluate on the *val* set\n" in out and "* total: 6\n" in out
    assert accuracy == trainer.evaluator.last_result["accuracy"]
    trainer.val_loader = None
    trainer.test(split="val")
    assert "Evaluate on the *test* set\n" in capsys.readouterr().out


def test_no_test(cfg, capsys: pytest.CaptureFixture[str]) -> None:
    cfg.TEST.NO_TEST = True
    fresh(cfg).train()
    assert "=> result" not in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_before_the_update(cfg, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = fresh(cfg)
    kept = []

    def poisoned(scores, labels):
        loss = real(scores, labels)
        if (trainer.epoch, trainer.batch_idx) == (1, 1):
            kept.append(weights(trainer).clone())
            return loss * float("nan")
        return loss

    real = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", poisoned)
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 2, batch 2"):
        trainer.train()
    assert torch.equal(weights(trainer), kept[0])
    assert load_checkpoint(Path(cfg.OUTPUT_DIR) / RESUME_FILE)["epoch"] == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(cfg, tmp_path: Path, workers: int) -> None:
    cfg.DATASET.ROOT = str(tmp_path)
    cfg.DATALOADER.NUM_WORKERS = workers
    trainer = fresh(cfg)
    broken = tmp_path / "squares" / "test" / "green1.png"
    broken.write_bytes(broken.read_bytes()[:48])
    with pytest.raises(OSError, match=f"cannot read image {broken}"):
        trainer.test()


def test_bookkeeping(cfg) -> None:
    trainer = fresh(cfg)
    assert trainer.device == torch.device("cpu")
    assert trainer.get_model_names() == ["model"]
    with pytest.raises(ValueError, match="already registered"):
        trainer.register_model("model")
    with pytest.raises(ValueError, match="no model called 'x'"):
        trainer.update_lr("x")
    with pytest.raises(KeyError, match="fast"):
        trainer.set_model_mode("fast")
    trainer.set_model_mode("test")
    assert not trainer.model.training
    with pytest.raises(AttributeError, match="super"):
        object.__new__(TrainerBase).register_model("m")
    cfg.TRAINER.NAME = "Vanila"
    with pytest.raises(ValueError, match="unknown TRAINER 'Vanila'; did you mean 'Vanilla'?"):
        build_trainer(cfg)


@TRAINER_REGISTRY.register()
class Agreement(TrainerXU):
    """Cross-entropy on labelled images and entropy on unlabelled ones."""

    def forward_backward(self, batch_x, batch_u):
        images, labels, unlabelled = self.parse_batch_train(batch_x, batch_u)
        entropy = torch.distributions.Categorical(logits=self.model(unlabelled)).entropy().mean()
        loss = F.cross_entropy(self.model(images), labels) + 0.1 * entropy
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss}


@pytest.mark.parametrize(("rule", "batches"), [("train_x", 1), ("train_u", 4), ("smaller_one", 1)])
def test_unlabelled_trainer(cfg, rule: str, batches: int, capsys: pytest.CaptureFixture[str]) -> None:
    cfg.TRAINER.NAME = "Agreement"
    cfg.TRAIN.COUNT_ITER, cfg.TRAIN.PRINT_FREQ = rule, 1
    cfg.DATASET.NUM_SHOTS = 2
    cfg.OPTIM.MAX_EPOCH = 1
    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    cfg.DATALOADER.TRAIN_U.BATCH_SIZE = 4
    trainer = fresh(cfg)
    trainer.train()
    assert capsys.readouterr().out.count("epoch [1/1] batch") == batches == trainer.num_batches
    cfg.TRAIN.COUNT_ITER = "both"
    with pytest.raises(ValueError, match="COUNT_ITER"):
        trainer.run_epoch()
    trainer.train_loader_u = None
    with pytest.raises(ValueError, match="train_u"):
        trainer.run_epoch()


def test_simple_net(cfg) -> None:
    cfg.MODEL.HEAD.NAME = "mlp"
    cfg.MODEL.HEAD.HIDDEN_LAYERS = (6, 5)
    images = build_transform(cfg, is_train=False)
    assert images is not None
    x = torch.randn(4, 3, 8, 8)
    net = SimpleNet(cfg, cfg.MODEL, 3)
    scores, features = net(x, return_feature=True)
    assert (scores.shape, features.shape, net.fdim) == ((4, 3), (4, 5), 5)
    assert SimpleNet(cfg, cfg.MODEL, 0)(x).shape == (4, 5)
    resnet = build_backbone("resnet18", pretrained=False)
    assert resnet(torch.randn(2, 3, 32, 32)).shape == (2, 512) and resnet.out_features == 512
