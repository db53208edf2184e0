"""What MixStyle and EFDMix share: when they act, and with which other image each one is mixed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from dassl.utils.tools import check_availability

MIXES = ("random", "crossdomain")


class Mixing(nn.Module):
    """Mixes images of a batch in training, with probability `p` (of Python's `random`), while activated.

    `mix` is random (any other image) or crossdomain (one of the other half of the batch). Weights are drawn from
    Beta(alpha, alpha). ValueError for another `mix`.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = 1e-6, mix: str = "random") -> None:
        super().__init__()
        self.p = p
        self.alpha = alpha
        self.eps = eps
        self.beta = torch.distributions.Beta(alpha, alpha)
        self._activated = True
        self.update_mix_method(mix)

    def set_activation_status(self, status: bool = True) -> None:
        """Switch on or off."""
        self._activated = status

    def update_mix_method(self, mix: str = "random") -> None:
        """Choose with which image each one is mixed."""
        check_availability(mix, MIXES)
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps `[B, C, H, W]` as they are, or mixed."""
        if not self.training or not self._activated or random.random() > self.p:
            return x
        weight = self.beta.sample((len(x), 1, 1, 1)).to(x.device)
        return self.mixed(x, self._partners(len(x)), weight)

    def mixed(self, x: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
        """Return images `[B, C, H, W]`, each mixed by a weight `[B, 1, 1, 1]` with its partner."""
        raise NotImplementedError

    def _partners(self, size: int) -> Tensor:
        if self.mix == "random":
            return torch.randperm(size)
        second, first = torch.arange(size - 1, -1, -1).chunk(2)
        return torch.cat([half[torch.randperm(len(half))] for half in (second, first)])


Switch = Callable[[nn.Module], None]


def switches(kind: type[Mixing]) -> tuple[Switch, Switch, Switch, Switch]:
    """Return what `model.apply` takes to switch modules of a kind on, off, to any image, and to the other half's."""

    def of_kind(act: Callable[[Mixing], None]) -> Switch:
        def switch(m: nn.Module) -> None:
            if isinstance(m, kind):
                act(m)

        return switch

    return (
        of_kind(lambda m: m.set_activation_status(True)),
        of_kind(lambda m: m.set_activation_status(False)),
        of_kind(lambda m: m.update_mix_method("random")),
        of_kind(lambda m: m.update_mix_method("crossdomain")),
    )


def switched(kind: type[Mixing]) -> tuple[Callable[..., AbstractContextManager], Callable[..., AbstractContextManager]]:
    """Return context managers in which a model's modules of a kind mix, as `mix` says if given, and do not.

    At the end they are switched the other way.
    """

    @contextmanager
    def switch(model: nn.Module, status: bool, mix: str | None) -> Iterator[None]:
        found = [module for module in model.modules() if isinstance(module, kind)]
        for module in found:
            if mix is not None:
                module.update_mix_method(mix)
            module.set_activation_status(status)
        try:
            yield
        finally:
            for module in found:
                module.set_activation_status(not status)

    def run_with(model: nn.Module, mix: str | None = None) -> AbstractContextManager:
        return switch(model, True, mix)

    def run_without(model: nn.Module) -> AbstractContextManager:
        return switch(model, False, None)

    return run_with, run_without
