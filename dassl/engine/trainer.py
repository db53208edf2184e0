"""Trainers over a DataManager: on labelled data (TrainerX), on labelled and unlabelled data (TrainerXU)."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dassl import loggers
from dassl.config import get_cfg_default
from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.lazy import names_from
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils.meters import AverageMeter, MetricMeter
from dassl.utils.torchtools import count_num_param, load_pretrained_weights

from .aligned import aligned_gradients
from .base import TrainerBase
from .rolling import RollingFile
from .simple_net import SimpleNet
from .soundness import Soundness

# The public Dassl's default says that nobody asked for lines of batches: an epoch then has one line.
UNASKED_PRINT_FREQ = get_cfg_default().TRAIN.PRINT_FREQ

__all__ = ["SimpleNet", "SimpleTrainer", "TrainerBase", "TrainerX", "TrainerXU"]

# What trainers import from here because the public module has it.
__getattr__ = names_from(
    __name__,
    {
        "collections": "OrderedDict",
        "torch.utils.tensorboard": "SummaryWriter",
        "dassl.modeling": "build_backbone build_head",
        "dassl.utils": "load_checkpoint mkdir_if_missing resume_from_checkpoint save_checkpoint tolist_if_not",
    },
)


def choose_device(use_cuda: bool) -> torch.device:
    """Return CUDA, else Apple's MPS, where present and `use_cuda`; else the CPU."""
    if use_cuda and torch.cuda.is_available():
        return torch.device("cuda")
    if use_cuda and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


class SimpleTrainer(TrainerBase):
    """Builds data, model and evaluator from a configuration; `train()` trains and tests."""

    dm: DataManager
    train_loader_x: DataLoader
    train_loader_u: DataLoader | None
    val_loader: DataLoader | None
    test_loader: DataLoader
    model: Any
    optim: Any
    sched: Any

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        loggers.check(cfg.TRAIN.LOGGER)
        self.check_cfg(cfg)
        self.device = choose_device(cfg.USE_CUDA)
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError (a hook) if the configuration does not suit the trainer."""

    def build_data_loader(self) -> None:
        """Set `dm`, loaders and facts about the classes; trainers with their own DataManager replace this."""
        dm = DataManager(self.cfg)
        self.train_loader_x = dm.train_loader_x
        self.train_loader_u = dm.train_loader_u
        self.val_loader = dm.val_loader
        self.test_loader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self) -> None:
        """Build and register a SimpleNet; trainers with another model replace this."""
        cfg = self.cfg
        print("Building model")
        self.model = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        print(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)
        if self.device.type == "cuda" and torch.cuda.device_count() > 1:
            print(f"Detected {torch.cuda.device_count()} GPUs (use nn.DataParallel)")
            self.model = nn.DataParallel(self.model)

    def train(self) -> None:  # type: ignore[override]
        """Train from the configuration's start to its end."""
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        """Resume if there is something to resume, and open the log that TRAIN.LOGGER names."""
        directory = self.output_dir
        # A killed run that itself was started with RESUME goes on from its own progress.
        if self.cfg.RESUME and not RollingFile(directory).exists():
            directory = self.cfg.RESUME
        self.start_epoch = self.resume_model_if_exist(directory)
        logger = loggers.LOGGERS.get(self.cfg.TRAIN.LOGGER)
        log_dir = Path(self.output_dir) / ("" if logger else "tensorboard")
        log_dir.mkdir(parents=True, exist_ok=True)
        if logger:
            self._write_epoch = self._loggers.enter_context(logger(log_dir, self.start_epoch, self.cfg))
        else:
            self.init_writer(str(log_dir))
        self.time_start = time.time()

    def after_train(self) -> None:
        """Test the last or best model, unless TEST.NO_TEST, and close the log."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        elapsed = datetime.timedelta(seconds=round(time.time() - self.time_start))
        print(f"Elapsed: {elapsed}")
        self.close_writer()
        self._loggers.close()

    def log_epoch(self, values: Mapping[str, float]) -> None:
        """Give numbers of the current epoch to the logger that TRAIN.LOGGER names; TensorBoard gets them by step."""
        if self._write_epoch is not None:
            self._write_epoch(self.epoch + 1, values)

    def after_epoch(self) -> None:
        """Select on the validation set (TEST.FINAL_MODEL best_val) and save the checkpoints that are due."""
        cfg = self.cfg
        done = self.epoch + 1
        if not cfg.TEST.NO_TEST and cfg.TEST.FINAL_MODEL == "best_val":
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name="model-best.pth.tar")
        frequency = cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (frequency > 0 and done % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on "val" or "test" (default TEST.SPLIT) and return the first result, the accuracy.

        Without validation images, "val" means "test". Raises FloatingPointError where scores are not finite.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is not None:
            loader = self.val_loader
        else:
            split, loader = "test", self.test_loader
        print(f"Evaluate on the *{split}* set")
        soundness = Soundness()
        with self.tally.test() as test:
            for batch in tqdm(loader, disable=None):  # None: a bar only on a terminal
                images, labels = self.parse_batch_test(batch)
                scores = self.model_inference(images)
                soundness.look(scores, batch)
                self.evaluator.process(scores, labels)
                test.images += len(labels)
        soundness.check(self.cfg.TRAINER.NAME, split)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        self.log_epoch({f"{split}/{name}": value for name, value in results.items()})
        return next(iter(results.values()))

    def model_inference(self, input: Any) -> Tensor:
        """Return scores `[B, C]` for images `[B, 3, H, W]`."""
        return self.model(input)

    def parse_batch_test(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return images and labels on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)


class _EpochLog:
    """Meters, log lines and TensorBoard scalars of one epoch."""

    def __init__(self, trainer: SimpleTrainer) -> None:
        self.trainer = trainer
        self.losses = MetricMeter()
        self.batch_time = AverageMeter()
        self.data_time = AverageMeter()
        self.lr = trainer.get_current_lr()  # before a schedule's step at the epoch's last batch
        self.last = time.time()
        self.unread: list[tuple[int, float, dict[str, Any] | None]] = []  # step, learning rate, summary

    def __enter__(self) -> _EpochLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.read()

    def loaded(self) -> None:
        """Note that a batch has arrived."""
        self.data_time.update(time.time() - self.last)

    def stepped(self, summary: dict[str, Any] | None) -> None:
        """Note that a training step is done, and log what is due."""
        t = self.trainer
        self.batch_time.update(time.time() - self.last)
        t.tally.training.seconds += self.batch_time.val
        self.unread.append((t.epoch * t.num_batches + t.batch_idx, t.get_current_lr(), summary))
        frequency = t.cfg.TRAIN.PRINT_FREQ
        is_last = t.batch_idx + 1 == t.num_batches
        asked = frequency != UNASKED_PRINT_FREQ
        due = (t.batch_idx + 1) % frequency == 0 or (asked and t.num_batches < frequency)
        if due or is_last or not any(isinstance(value, Tensor) for value in (summary or {}).values()):
            self.read()
        if asked and due:
            print(self._batch_line())
        elif is_last and not asked:
            print(self._epoch_line())
        if is_last:
            t.log_epoch({**{f"train/{n}": m.avg for n, m in self.losses.meters.items()}, "train/lr": self.lr})
        self.last = time.time()

    def read(self) -> None:
        """Take in the numbers of the steps since the last call; those on a device are waited for."""
        for step, lr, summary in self.unread:
            self.losses.update(summary)
            for name, meter in self.losses.meters.items():
                self.trainer.write_scalar(f"train/{name}", meter.avg, step)
            self.trainer.write_scalar("train/lr", lr, step)
        self.unread = []

    def _eta(self) -> datetime.timedelta:
        t = self.trainer
        left = t.num_batches - t.batch_idx - 1 + (t.max_epoch - t.epoch - 1) * t.num_batches
        return datetime.timedelta(seconds=int(self.batch_time.avg * left))

    def _epoch_line(self) -> str:
        """Return the epoch in one line; its losses are means over the batches."""
        t = self.trainer
        means = "".join(f"{name} {meter.avg:.4f} " for name, meter in self.losses.meters.items())
        head = f"epoch [{t.epoch + 1}/{t.max_epoch}] {means}lr {self.lr:.4e}"
        return f"{head} time {self.batch_time.sum:.1f} s eta {self._eta()}"

    def _batch_line(self) -> str:
        t = self.trainer
        return (
            f"epoch [{t.epoch + 1}/{t.max_epoch}] "
            f"batch [{t.batch_idx + 1}/{t.num_batches}] "
            f"time {self.batch_time.val:.3f} ({self.batch_time.avg:.3f}) "
            f"data {self.data_time.val:.3f} ({self.data_time.avg:.3f}) "
            f"{self.losses} "
            f"lr {t.get_current_lr():.4e} "
            f"eta {self._eta()}"
        )


class TrainerX(SimpleTrainer):
    """Trains on labelled images; a method implements `build_model` and `forward_backward`."""

    def run_epoch(self) -> None:
        """Train on all batches of `train_loader_x` once."""
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        (batches,), done = self.resumption.open_streams(self.train_loader_x)
        with _EpochLog(self) as log:
            for batch_idx, batch in enumerate(batches, start=done):
                self.batch_idx = batch_idx
                log.loaded()
                self.tally.trained(batch)
                log.stepped(self.forward_backward(batch))
                self.resumption.end_step(self, self.cfg.TRAIN.RESUME_FREQ)

    def prograd_backward_and_update(
        self, loss_a: Tensor, loss_b: Tensor, lambda_: float = 1, names: str | list[str] | None = None
    ) -> None:
        """Step with gradients of `loss_a` that do not contradict `loss_b`'s (ProGrad's Dassl; `aligned_gradients`)."""
        self.detect_anomaly(loss_b)
        self.detect_anomaly(loss_a)
        models = [self._models[name] for name in self.get_model_names(names)]
        parameters = [p for model in models for p in model.parameters() if p.requires_grad]
        for parameter, gradient in zip(parameters, aligned_gradients(loss_a, loss_b, parameters, lambda_), strict=True):
            parameter.grad = gradient
        self.model_update(names)

    def parse_batch_train(self, batch: Any) -> Any:
        """Return images, labels and domains on the device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))


class TrainerXU(SimpleTrainer):
    """Trains on labelled and unlabelled images; a method's `forward_backward` takes a batch of each."""

    def run_epoch(self) -> None:
        """Take as many steps as TRAIN.COUNT_ITER (train_x, train_u, smaller_one) says; a shorter loader starts over."""
        if self.train_loader_u is None:
            raise ValueError(f"trainer {type(self).__name__} needs unlabelled images, but the dataset has no train_u")
        self.set_model_mode("train")
        self.num_batches = self._count_batches(len(self.train_loader_x), len(self.train_loader_u))
        (batches_x, batches_u), done = self.resumption.open_streams(
            self.train_loader_x, self.train_loader_u, endless=True
        )
        with _EpochLog(self) as log:
            for batch_idx in range(done, self.num_batches):
                self.batch_idx = batch_idx
                batch_x, batch_u = next(batches_x), next(batches_u)
                log.loaded()
                self.tally.trained(batch_x)
                log.stepped(self.forward_backward(batch_x, batch_u))
                self.resumption.end_step(self, self.cfg.TRAIN.RESUME_FREQ)

    def _count_batches(self, labelled: int, unlabelled: int) -> int:
        counts = {"train_x": labelled, "train_u": unlabelled, "smaller_one": min(labelled, unlabelled)}
        rule = self.cfg.TRAIN.COUNT_ITER
        if rule not in counts:
            raise ValueError(f"TRAIN.COUNT_ITER must be one of {', '.join(counts)}, got '{rule}'")
        return counts[rule]

    def forward_backward(self, batch_x: Any, batch_u: Any) -> Any:  # type: ignore[override]
        """Take one training step; returns a dict of scalars for the log."""
        raise NotImplementedError

    def parse_batch_train(self, batch_x: Any, batch_u: Any) -> Any:  # type: ignore[override]
        """Return labelled images, their labels, and unlabelled images, on the device."""
        return (batch_x["img"].to(self.device), batch_x["label"].to(self.device), batch_u["img"].to(self.device))
