"""Plug-ins: what may stand around any method. ``TRAINER.PLUGINS "[DePT, DeKg]"`` puts them on in this order.

A plug-in is a file here with a class of its name, its settings in ``settings`` and a row in ``PLUGINS``; docs, tests
and tools find it by listing. As with methods, nothing of this module needs torch.

The contract (``contract.Plugin``). A plug-in is a module beside a method, its host, which it must not change:

* ``needs``: names of ``contract.OFFERS``, what it needs of its host. A host that does not offer one is refused in one
  line, and so is one of which ``refusal`` says why.
* ``loss(step, loss)``: the training loss, from the loss so far, the scores, and features where the host offers them.
* ``scores(seen, scores)``: the scores ``[B, C]`` of an evaluation, from those so far, with the host's class features.
* ``fit(batches)``: what it takes of validation images (never tested ones) once something is about to be saved.
* ``use_classes``, ``fit_to``: as ``Method`` has them. ``lr_factor``: its learning rate, as a multiple of the host's.

Its parameters are trained with the host's. These and its buffers (numbers that ``fit`` finds) are in the checkpoint
under its name (``DePT.film_lp_img.scale``), and are loaded by exactly this list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from common.names import suggest

from . import settings
from .settings import PluginSettings


class Entry(NamedTuple):
    """The module of a plug-in, in which a class has the plug-in's name, and its settings."""

    module: str
    settings: type[PluginSettings]

    @property
    def node(self) -> str:
        """Return the name of the settings' node below TRAINER."""
        return self.settings.path.removeprefix("TRAINER.")


PLUGINS = {
    "DePT": Entry("trainers.plugins.dept", settings.DePTSettings),
    "DeKg": Entry("trainers.plugins.dekg", settings.DeKgSettings),
    "Temperature": Entry("trainers.plugins.temperature", settings.TemperatureSettings),
    "DAC": Entry("trainers.plugins.dac", settings.DACSettings),
}
# The names of public trainers that are a method of ours with a plug-in around it.
OFFICIAL = {
    "DeKg": "KgCoOp+DeKg",
    "DeKg_TCP": "TCP+DeKg",
    "ExtrasLinearProbeCoOp": "CoOp+DePT",
    "ExtrasLinearProbeKgCoOp": "KgCoOp+DePT",
    "ExtrasLinearProbeMaPLe": "MaPLe+DePT",
}


def title(cfg: Any) -> str:
    """Return what a run is called, such as ``CoOp+DePT``: its method's name and its plug-ins'."""
    return "+".join([cfg.TRAINER.NAME, *cfg.TRAINER.PLUGINS])


def split_title(name: str) -> tuple[str, list[str]]:
    """Return the method's name and the plug-ins' in a title such as ``CoOp+DePT``, or in an official name."""
    method, *plugins = OFFICIAL.get(name, name).split("+")
    return method, plugins


def check(cfg: Any) -> None:
    """Raise ValueError unless a run's plug-ins are known, none is named twice, and their settings are allowed."""
    names = list(cfg.TRAINER.PLUGINS)
    for name in names:
        if name not in PLUGINS:
            raise ValueError(f"TRAINER.PLUGINS: there is no plug-in {name!r}; {suggest(str(name), PLUGINS)}")
        if names.count(name) > 1:
            raise ValueError(f"TRAINER.PLUGINS names {name} twice")
    settings_of(cfg)


def settings_of(cfg: Any) -> dict[str, Any]:
    """Return what a checkpoint says of a run's plug-ins: ``plugins``, their settings by name; nothing without any."""
    found = {name: PLUGINS[name].settings.of(cfg.TRAINER[PLUGINS[name].node]).values() for name in cfg.TRAINER.PLUGINS}
    return {"plugins": found} if found else {}


def draws_as_public_code(cfg: Any) -> bool:
    """Return whether public code with these plug-ins is known to draw as a run does, where that of the method is."""
    hosts = [PLUGINS[name].settings.public_draws for name in cfg.TRAINER.PLUGINS]
    return all(known is None or cfg.TRAINER.NAME in known for known in hosts)


def nodes_of(cfg: Any) -> list[str]:
    """Return the keys below TRAINER that the plug-ins of a run read; none where there are no plug-ins."""
    nodes = [entry.node for name, entry in PLUGINS.items() if name in cfg.TRAINER.PLUGINS]
    return ["PLUGINS", *nodes] if cfg.TRAINER.PLUGINS else []
