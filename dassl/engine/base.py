"""The training loop and the bookkeeping of models, optimisers, schedules, checkpoints and logs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dassl.loggers import Write
from dassl.utils.tools import tolist_if_not
from dassl.utils.torchtools import load_checkpoint, save_checkpoint

from .resume import Resumption
from .rolling import RollingFile
from .tally import Tally

Names = str | list[str] | None


class TrainerBase:
    """Loop over epochs around registered models.

    Each epoch ends by replacing `{output_dir}/resume.pth.tar` (but none within a second of the last, unless
    TRAIN.RESUME_FREQ asks for more), from which a killed run continues exactly:
    models, optimisers, schedules, gradient scaler (`self.scaler`, if a trainer has one), best result and
    random generators. Within an epoch it also holds the place in the data (TRAIN.RESUME_FREQ, `request_stop`).
    """

    start_epoch = 0
    max_epoch = 0
    epoch = 0
    batch_idx = 0
    num_batches = 0
    output_dir = ""
    best_result: float = -math.inf
    scaler: Any  # of trainers that have one

    def __init__(self) -> None:
        self._models: OrderedDict[str, nn.Module] = OrderedDict()
        self._optims: OrderedDict[str, Any] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()
        self._writer: Any = None
        self._loggers = ExitStack()
        self._write_epoch: Write | None = None  # of the logger that TRAIN.LOGGER names, while it is open
        self.tally = Tally()
        self.resumption = Resumption()

    # Models

    def register_model(self, name: str = "model", model: Any = None, optim: Any = None, sched: Any = None) -> None:
        """Put a model with its optimiser and schedule in the loop; ValueError if the name is taken."""
        if self.__dict__.get("_models") is None:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"a model called '{name}' is already registered")
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names: Names = None) -> list[str]:
        """Return all names, or check and return those given; ValueError for an unknown one."""
        registered = list(self._models)
        if names is None:
            return registered
        wanted = tolist_if_not(names)
        for name in wanted:
            if name not in registered:
                raise ValueError(f"no model called '{name}' is registered; there are {registered}")
        return wanted

    def set_model_mode(self, mode: str = "train", names: Names = None) -> None:
        """Set models to "train", or to "eval" or "test"; KeyError for another mode."""
        if mode not in ("train", "eval", "test"):
            raise KeyError(f"model mode must be train, eval or test, got '{mode}'")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: Names = None) -> None:
        """Step the schedules (once per epoch)."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: Names = None) -> float:
        """Return the learning rate of the first parameter group of the first model."""
        name = self.get_model_names(names)[0]
        return self._optims[name].param_groups[0]["lr"]

    # One step

    def detect_anomaly(self, loss: Tensor) -> None:
        """Raise FloatingPointError naming epoch and batch if the loss is not finite."""
        if not torch.isfinite(loss).all():
            raise FloatingPointError(
                f"the loss is {loss.detach().float().mean().item()} in epoch {self.epoch + 1}, "
                f"batch {self.batch_idx + 1}; training stopped"
            )

    def model_zero_grad(self, names: Names = None) -> None:
        """Drop the gradients."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: Tensor) -> None:
        """Backpropagate; raises FloatingPointError if the loss is not finite.

        The check waits for the device, so it comes once the backward pass is queued, and before any update.
        """
        loss.backward()
        self.detect_anomaly(loss)

    def model_update(self, names: Names = None) -> None:
        """Step the optimisers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: Names = None) -> None:
        """Drop old gradients, backpropagate, check the loss, and step the optimisers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    # Checkpoints

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        """Save each model, optimiser and schedule to `{directory}/{name}/model.pth.tar-{epoch + 1}`."""
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            save_checkpoint(
                {
                    "state_dict": self._models[name].state_dict(),
                    "epoch": epoch + 1,
                    "optimizer": None if optim is None else optim.state_dict(),
                    "scheduler": None if sched is None else sched.state_dict(),
                    "val_result": val_result,
                },
                Path(directory) / name,
                is_best=is_best,
                model_name=model_name,
            )

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load each model's weights from `{directory}/{name}`.

        Without `epoch`: `model-best.pth.tar` if there is one, else the file that `checkpoint` names.
        FileNotFoundError if there is no such file.
        """
        if not directory:
            print("load_model() is skipped: no directory is given")
            return
        for name in self.get_model_names():
            path = find_checkpoint(Path(directory) / name, epoch)
            checkpoint = load_checkpoint(path)
            result = checkpoint.get("val_result")
            shown = "none" if result is None else f"{result:.1f}"
            print(f"Load {path} to {name} (epoch={checkpoint.get('epoch')}, val_result={shown})")
            self._models[name].load_state_dict(checkpoint["state_dict"])

    # Resuming

    def resume_model_if_exist(self, directory: str) -> int:
        """Continue from the rolling file in `directory`, else from its last checkpoints.

        Returns the next epoch: 0 if there is neither. ValueError if the file belongs to other models or is
        damaged, and so is the one before it.
        """
        return self.resumption.load(self, directory)

    def save_resume_state(self, directory: str, step: int = 0) -> None:
        """Replace the rolling file from which `resume_model_if_exist` goes on; `step`: batches done of this epoch."""
        self.resumption.save(self, directory, step)

    def request_stop(self) -> None:
        """Stop after the training step at hand, with all saved; outside an epoch's steps at once, by Preempted.

        For a signal handler. A trainer whose own `run_epoch` does not end its steps by `resumption.end_step` stops
        after the epoch.
        """
        self.resumption.request_stop()

    def depends_on(self) -> str:
        """Return what else a rolling file belongs to, such as a digest of frozen weights; "" for nothing."""
        return ""

    def data_facts(self) -> dict[str, Any]:
        """Return plain values that tell the images of this training from others; {} for nothing."""
        return {}

    def data_changes(self, told: dict[str, Any]) -> str:
        """Return how the images differ from those of which `data_facts` told this, in one line; "" if they do not."""
        return ""

    def extra_state(self) -> dict[str, Any]:
        """Return what else decides how training goes on, tensors and plain values, for `load_extra_state`."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` gave."""

    # TensorBoard

    def init_writer(self, log_dir: str) -> None:
        """Open the TensorBoard log."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            print(f"Initialize tensorboard (log_dir={log_dir})")
            self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Log a scalar; does nothing while no log is open."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    # The loop

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Run epochs `start_epoch` to `max_epoch - 1`; `before_train` may move the start.

        Raises Preempted where `request_stop` was called, once all is saved that is needed to go on.
        """
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        # The rolling file is kept here, not in the hooks, so that trainers that replace a hook still resume.
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.resumption.in_epoch = True
            with self.tally.waiting["training"].watch():
                self.run_epoch()
            self.resumption.in_epoch = False
            self.after_epoch()
            self.resumption.end_epoch(self)
        self.after_train()
        if self.output_dir:
            RollingFile(self.output_dir).remove()

    def before_train(self) -> None:
        """Prepare for training (a hook)."""

    def after_train(self) -> None:
        """Do what follows training (a hook)."""

    def before_epoch(self) -> None:
        """Prepare for an epoch (a hook)."""

    def after_epoch(self) -> None:
        """Do what follows an epoch (a hook)."""

    def run_epoch(self) -> None:
        """Train for one epoch."""
        raise NotImplementedError

    def test(self, split: str | None = None) -> float:
        """Evaluate on a split, and return the first result."""
        raise NotImplementedError

    def parse_batch_train(self, batch: Any) -> Any:
        """Move what training needs from a loader's batch to the device."""
        raise NotImplementedError

    def parse_batch_test(self, batch: Any) -> Any:
        """Move images and labels of a loader's batch to the device."""
        raise NotImplementedError

    def forward_backward(self, batch: Any) -> Any:
        """Take one training step; returns a dict of scalars for the log."""
        raise NotImplementedError

    def model_inference(self, input: Any) -> Any:
        """Return scores `[B, C]` for a batch of images."""
        raise NotImplementedError


def find_checkpoint(folder: Path, epoch: int | None = None) -> Path:
    """Return the checkpoint of `epoch`, by default the best, else the last; FileNotFoundError if none."""
    if epoch is not None:
        path = folder / f"model.pth.tar-{epoch}"
    else:
        path = folder / "model-best.pth.tar"
        pointer = folder / "checkpoint"
        if not path.is_file() and pointer.is_file():
            path = folder / pointer.read_text(encoding="utf-8").strip()
    if not path.is_file():
        saved: Sequence[str] = sorted(p.name for p in folder.glob("model*.pth.tar*"))
        raise FileNotFoundError(f"no checkpoint at {path}; the folder has {', '.join(saved) or 'none'}")
    return path
