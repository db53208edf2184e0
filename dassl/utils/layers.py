"""Initial weights, frozen batch norms and rates set by hand; `torchtools` has them under their public names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .tools import check_availability


def adjust_learning_rate(
    optimizer: torch.optim.Optimizer,
    base_lr: float,
    epoch: int,
    stepsize: int = 20,
    gamma: float = 0.1,
    linear_decay: bool = False,
    final_lr: float = 0,
    max_epoch: int = 100,
) -> None:
    """Set the rate of an epoch: `base_lr` times `gamma` every `stepsize` epochs, or in a line down to `final_lr`."""
    done = epoch / max_epoch
    lr = done * final_lr + (1 - done) * base_lr if linear_decay else base_lr * gamma ** (epoch // stepsize)
    for group in optimizer.param_groups:
        group["lr"] = lr


def set_bn_to_eval(m: nn.Module) -> None:
    """Put a batch norm in evaluation mode; for `model.apply`."""
    if isinstance(m, nn.modules.batchnorm._BatchNorm):
        m.eval()


def init_network_weights(model: nn.Module, init_type: str = "normal", gain: float = 0.02) -> None:
    """Draw the weights of all linear layers and convolutions anew, and set biases to 0 and norms to the identity.

    `init_type` is normal (mean 0, standard deviation `gain`), xavier, kaiming or orthogonal; ValueError otherwise.
    """
    check_availability(init_type, _INITIAL)
    for module in model.modules():
        bias = getattr(module, "bias", None)
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            _INITIAL[init_type](module.weight, gain)
        elif isinstance(module, nn.modules.batchnorm._NormBase):  # of batches and of instances
            if module.weight is not None:
                nn.init.ones_(module.weight)
        else:
            continue
        if bias is not None:
            nn.init.zeros_(bias)


_INITIAL: dict[str, Callable[[torch.Tensor, float], Any]] = {
    "normal": lambda weight, gain: nn.init.normal_(weight, 0.0, gain),
    "xavier": lambda weight, gain: nn.init.xavier_normal_(weight, gain),
    "kaiming": lambda weight, gain: nn.init.kaiming_normal_(weight, a=0, mode="fan_in"),
    "orthogonal": lambda weight, gain: nn.init.orthogonal_(weight, gain),
}
