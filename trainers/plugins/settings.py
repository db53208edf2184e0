"""The settings of the plug-ins: their defaults, which are those of the papers, and the values that are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..shared.settings import Node, at_least, checked, choice, share


@dataclass(frozen=True)
class PluginSettings(Node):
    """A plug-in's settings; its keyword ``path`` names its node, such as TRAINER.DEPT.

    ``public_draws``: the hosts with which public code is known to draw what the host's does, then the plug-in's tensors
    as built here; None where the plug-in draws nothing and is put on any trained model.
    """

    public_draws: ClassVar[tuple[str, ...] | None] = ()


@dataclass(frozen=True)
class DePTSettings(PluginSettings, path="TRAINER.DEPT"):
    """DePT's settings: lambda, the second branch, its channel-wise transformation, fusion at test time, and rates.

    ``lr_exp``: the learning rate of DePT's tensors, as a multiple of the host's.
    """

    public_draws: ClassVar[tuple[str, ...] | None] = ("CoOp", "MaPLe")
    linear_probe_type: str = choice("linear", "similarity")
    linear_probe_weight: float = share(0.7)
    film_linear_probe: bool = True
    test_time_fusion: bool = True
    lr_exp: float = checked(6.5, lambda value: value > 0, "must be more than 0, not {}")


@dataclass(frozen=True)
class DeKgSettings(PluginSettings, path="TRAINER.DEKG"):
    """DeKg's settings: mu, the weight of the dependence between learned and frozen class features."""

    loss_weight: float = at_least(0, 6.0)


@dataclass(frozen=True)
class TemperatureSettings(PluginSettings, path="TRAINER.TEMPERATURE"):
    """Temperature scaling has no settings."""

    public_draws: ClassVar[tuple[str, ...] | None] = None


@dataclass(frozen=True)
class DACSettings(PluginSettings, path="TRAINER.DAC"):
    """DAC's settings: K, how many of the nearest classes trained on count."""

    public_draws: ClassVar[tuple[str, ...] | None] = None
    k: int = at_least(1, 5)
