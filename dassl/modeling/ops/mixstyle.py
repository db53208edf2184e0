"""Mixtures of the styles of images: the mean and standard deviation of each channel.

Source: Zhou et al., Domain Generalization with MixStyle, ICLR 2021.
"""

from __future__ import annotations

from contextlib import contextmanager as contextmanager

from torch import Tensor

from .mixing import Mixing, switched, switches


class MixStyle(Mixing):
    """Gives an image a mixture of its own style and another image's."""

    def mixed(self, x: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True)
        mean, deviation = mean.detach(), (var + self.eps).sqrt().detach()
        normed = (x - mean) / deviation
        mean, deviation = (part * weight + part[partners] * (1 - weight) for part in (mean, deviation))
        return normed * deviation + mean


activate_mixstyle, deactivate_mixstyle, random_mixstyle, crossdomain_mixstyle = switches(MixStyle)
run_with_mixstyle, run_without_mixstyle = switched(MixStyle)
