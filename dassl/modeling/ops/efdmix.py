"""Mixtures of the values of feature maps, value by value in their order.

Source: Zhang et al., Exact Feature Distribution Matching for Arbitrary Style Transfer and Domain Generalization, CVPR
2022, equation 6.
"""

from __future__ import annotations

from contextlib import contextmanager as contextmanager

from torch import Tensor

from .mixing import Mixing, switched, switches


class EFDMix(Mixing):
    """Gives an image a mixture of its own values and those of equal rank of another image."""

    def mixed(self, x: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
        flat = x.flatten(2)
        ordered, order = flat.sort(dim=-1)
        others = ordered[partners].gather(-1, order.argsort(-1))  # the value of equal rank
        return (flat + (others - flat.detach()) * (1 - weight[..., 0])).view_as(x)


activate_efdmix, deactivate_efdmix, random_efdmix, crossdomain_efdmix = switches(EFDMix)
run_with_efdmix, run_without_efdmix = switched(EFDMix)
