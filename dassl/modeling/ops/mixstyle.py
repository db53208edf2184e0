"""Mixtures of the styles of images: the mean and standard deviation of each channel.

Source: Zhou et al., Domain Generalization with MixStyle, ICLR 2021.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextlib import contextmanager as contextmanager

from torch import Tensor, nn

from .mixing import Mixing, switched


class MixStyle(Mixing):
    """Gives an image a mixture of its own style and another image's."""

    def mixed(self, x: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True)
        mean, deviation = mean.detach(), (var + self.eps).sqrt().detach()
        normed = (x - mean) / deviation
        mean, deviation = (part * weight + part[partners] * (1 - weight) for part in (mean, deviation))
        return normed * deviation + mean


def activate_mixstyle(m: nn.Module) -> None:
    """Switch a module on if it is one; for `model.apply`."""
    if isinstance(m, MixStyle):
        m.set_activation_status(True)


def deactivate_mixstyle(m: nn.Module) -> None:
    """Switch a module off if it is one; for `model.apply`."""
    if isinstance(m, MixStyle):
        m.set_activation_status(False)


def random_mixstyle(m: nn.Module) -> None:
    """Let a module mix with any image if it is one; for `model.apply`."""
    if isinstance(m, MixStyle):
        m.update_mix_method("random")


def crossdomain_mixstyle(m: nn.Module) -> None:
    """Let a module mix with the other half of the batch if it is one; for `model.apply`."""
    if isinstance(m, MixStyle):
        m.update_mix_method("crossdomain")


def run_with_mixstyle(model: nn.Module, mix: str | None = None) -> AbstractContextManager[None]:
    """Within, the model's modules mix, as `mix` says if given; afterwards they do not."""
    return switched(model, MixStyle, True, mix)


def run_without_mixstyle(model: nn.Module) -> AbstractContextManager[None]:
    """Within, the model's modules do not mix; afterwards they do."""
    return switched(model, MixStyle, False)
