"""Mixtures of the values of feature maps, value by value in their order.

Source: Zhang et al., Exact Feature Distribution Matching for Arbitrary Style Transfer and Domain Generalization, CVPR
2022, equation 6.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextlib import contextmanager as contextmanager

from torch import Tensor, nn

from .mixing import Mixing, switched


class EFDMix(Mixing):
    """Gives an image a mixture of its own values and those of equal rank of another image."""

    def mixed(self, x: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
        flat = x.flatten(2)
        ordered, order = flat.sort(dim=-1)
        others = ordered[partners].gather(-1, order.argsort(-1))  # the value of equal rank
        return (flat + (others - flat.detach()) * (1 - weight[..., 0])).view_as(x)


def activate_efdmix(m: nn.Module) -> None:
    """Switch a module on if it is one; for `model.apply`."""
    if isinstance(m, EFDMix):
        m.set_activation_status(True)


def deactivate_efdmix(m: nn.Module) -> None:
    """Switch a module off if it is one; for `model.apply`."""
    if isinstance(m, EFDMix):
        m.set_activation_status(False)


def random_efdmix(m: nn.Module) -> None:
    """Let a module mix with any image if it is one; for `model.apply`."""
    if isinstance(m, EFDMix):
        m.update_mix_method("random")


def crossdomain_efdmix(m: nn.Module) -> None:
    """Let a module mix with the other half of the batch if it is one; for `model.apply`."""
    if isinstance(m, EFDMix):
        m.update_mix_method("crossdomain")


def run_with_efdmix(model: nn.Module, mix: str | None = None) -> AbstractContextManager[None]:
    """Within, the model's modules mix, as `mix` says if given; afterwards they do not."""
    return switched(model, EFDMix, True, mix)


def run_without_efdmix(model: nn.Module) -> AbstractContextManager[None]:
    """Within, the model's modules do not mix; afterwards they do."""
    return switched(model, EFDMix, False)
