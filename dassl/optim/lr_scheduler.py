"""Learning-rate schedules, stepped once per epoch, with an optional warm-up in front."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR
from torch.optim.lr_scheduler import _LRScheduler as _LRScheduler

from dassl.utils.tools import check_availability

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
AVAI_WARMUPS = ["linear", "constant"]


class _BaseWarmupScheduler(LRScheduler):
    """Runs its own rates for `warmup_epoch` epochs, then `successor` from its beginning.

    With `verbose`, every step of the warm-up prints the rates.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        last_epoch: int = -1,
        verbose: bool = False,
    ) -> None:
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        self._prints_rates = verbose  # torch 2.4 has a `verbose` of its own
        super().__init__(optimizer, last_epoch)

    def warmup_lrs(self) -> list[float]:
        """Return the rates of the parameter groups at `self.last_epoch < self.warmup_epoch`."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return self.warmup_lrs()

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)
            if self._prints_rates:
                for number, rate in enumerate(self.get_last_lr()):
                    print(f"Adjusting learning rate of group {number} to {rate:.4e}.")

    def state_dict(self) -> dict[str, Any]:
        """Return plain values only: the successor is stored as its own state."""
        return {**super().state_dict(), "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back such a state; raises ValueError for the public Dassl's, which holds objects instead of values."""
        own = dict(state_dict)
        successor = own.pop("successor", None)
        if not isinstance(successor, dict):
            raise ValueError("this checkpoint's schedule cannot be resumed; load its weights instead")
        super().load_state_dict(own)
        self.successor.load_state_dict(successor)


class ConstantWarmupScheduler(_BaseWarmupScheduler):
    """Warm-up at the constant rate `cons_lr`."""

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        cons_lr: float,
        last_epoch: int = -1,
        verbose: bool = False,
    ) -> None:
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch, verbose)

    def warmup_lrs(self) -> list[float]:
        return [self.cons_lr for _ in self.base_lrs]


class LinearWarmupScheduler(_BaseWarmupScheduler):
    """Warm-up from `min_lr` in epoch 0, then at `lr * epoch / warmup_epoch`."""

    def __init__(
        self,
        optimizer: Optimizer,
        successor: LRScheduler,
        warmup_epoch: int,
        min_lr: float,
        last_epoch: int = -1,
        verbose: bool = False,
    ) -> None:
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch, verbose)

    def warmup_lrs(self) -> list[float]:
        if self.last_epoch == 0:
            return [self.min_lr for _ in self.base_lrs]
        return [float(lr) * self.last_epoch / self.warmup_epoch for lr in self.base_lrs]


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: Any) -> LRScheduler:
    """Build the schedule `optim_cfg.LR_SCHEDULER`, preceded by a warm-up if `WARMUP_EPOCH > 0`.

    With WARMUP_RECOUNT (default) the main schedule starts from its beginning after the warm-up: with
    WARMUP_EPOCH 1 and cosine, epoch e >= 1 runs at `LR / 2 * (1 + cos(pi * (e - 1) / MAX_EPOCH))`. Without
    it, the warm-up's epochs count. Raises ValueError for an unknown schedule or warm-up, TypeError for a
    STEPSIZE of the wrong form.
    """
    check_availability(optim_cfg.LR_SCHEDULER, AVAI_SCHEDS)
    scheduler = _main_schedule(optimizer, optim_cfg)
    if optim_cfg.WARMUP_EPOCH <= 0:
        return scheduler
    check_availability(optim_cfg.WARMUP_TYPE, AVAI_WARMUPS)
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = optim_cfg.WARMUP_EPOCH
    if optim_cfg.WARMUP_TYPE == "constant":
        return ConstantWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_CONS_LR)
    return LinearWarmupScheduler(optimizer, scheduler, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_MIN_LR)


def _main_schedule(optimizer: Optimizer, cfg: Any) -> LRScheduler:
    steps = cfg.STEPSIZE
    if cfg.LR_SCHEDULER == "cosine":
        return CosineAnnealingLR(optimizer, float(cfg.MAX_EPOCH))  # type: ignore[arg-type]
    if cfg.LR_SCHEDULER == "multi_step":
        if not isinstance(steps, list | tuple):
            raise TypeError(f"OPTIM.STEPSIZE must be a list for multi_step, got {type(steps).__name__}")
        return MultiStepLR(optimizer, milestones=list(steps), gamma=cfg.GAMMA)
    size = steps[-1] if isinstance(steps, list | tuple) else steps
    if not isinstance(size, int):
        raise TypeError(f"OPTIM.STEPSIZE must be an integer for single_step, got {type(size).__name__}")
    return StepLR(optimizer, step_size=size if size > 0 else cfg.MAX_EPOCH, gamma=cfg.GAMMA)
