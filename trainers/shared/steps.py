"""Trainers that count in steps: the learning rate changes after each, and the last epoch may end early."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from dassl.optim import build_lr_scheduler

from .base import CLIPTrainer
from .features import loader_of


class FirstBatches:
    """The first batches of a loader, as a loader."""

    def __init__(self, loader: DataLoader, count: int):
        self.loader, self.count = loader, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return islice(self.loader, self.count)


class StepTrainer(CLIPTrainer):
    """Base of methods that train for a number of steps; epochs keep their last, smaller batch."""

    least_lr = 0.0  # where a cosine ends

    def count_steps(self) -> int:
        """Return how many steps training has: those of OPTIM.MAX_EPOCH epochs."""
        return self.cfg.OPTIM.MAX_EPOCH * len(self.train_loader_x)

    def build_data_loader(self) -> None:
        """Build the loaders; training keeps the last batch of an epoch."""
        super().build_data_loader()
        self.train_loader_x: Any = loader_of(
            self.cfg, self.dm.dataset.train_x, self.dm.train_loader_x, shuffle=True, cached=True
        )
        self.steps, self.epoch_steps = self.count_steps(), len(self.train_loader_x)
        self.max_epoch = math.ceil(self.steps / self.epoch_steps)

    def build_optim(self) -> None:
        """Set the optimiser, and the schedule in steps."""
        self.optim = self.build_optimizer()
        self.sched = self.schedule(self.steps)

    def schedule(self, steps: int) -> Any:
        """Return the optimiser's schedule over so many steps."""
        node = self.cfg.OPTIM.clone()
        node.defrost()
        node.MAX_EPOCH = steps
        schedule: Any = build_lr_scheduler(self.optim, node)
        getattr(schedule, "successor", schedule).eta_min = self.least_lr
        return schedule

    def run_epoch(self) -> None:
        """Train on all batches once, or on as many as there are steps left."""
        left = self.steps - self.epoch * self.epoch_steps
        if left < self.epoch_steps:
            self.train_loader_x = FirstBatches(self.train_loader_x, left)
        super().run_epoch()

    def forward_backward(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Do a step, and one of the schedule, unless it is the epoch's last: that one follows by itself."""
        summary = super().forward_backward(batch)
        if self.batch_idx + 1 < self.num_batches:
            self.update_lr()
        return summary


class PerShotTrainer(StepTrainer):
    """Base of methods that train for N_ITERS steps per shot, with a cosine from the learning rate to 1e-6."""

    least_lr = 1e-6

    def count_steps(self) -> int:
        """Return N_ITERS times the shots, or with 0 as the base does. Raises ValueError where all images are taken."""
        if not self.settings.n_iters:
            return super().count_steps()
        shots, key = self.cfg.DATASET.NUM_SHOTS, self.settings.key("N_ITERS")
        if shots < 1:
            raise ValueError(
                f"{key} counts steps per shot, and DATASET.NUM_SHOTS {shots} takes all images: give a number of shots, "
                f"or {key} 0 and epochs in OPTIM.MAX_EPOCH"
            )
        return self.settings.n_iters * shots
