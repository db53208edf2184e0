"""What a plug-in is compared with: one file per plug-in, named as the plug-in's in ``trainers/plugins``.

A file has, under the plug-in's name, a ``PluginReference``; ``reference.of("CoOp+DePT")`` puts it around the host's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from reference import Options, Pick, Reference

from ..shared.clip import PlainCLIP
from ..shared.numbers import Numbers
from ..shared.plain import Learned, Plain


@contextmanager
def as_they_are(clip: PlainCLIP) -> Iterator[None]:
    """Let a plain CLIP leave its features' lengths within the block."""
    clip.unit = lambda features: features  # type: ignore[method-assign]
    try:
        yield
    finally:
        del clip.unit


class PlainAround(Plain):
    """Equations around those of a host; a subclass has what differs."""

    def __init__(self, host: Plain, cfg: Any, names: list[str]):
        self.host, self.clip, self.scale = host, host.clip, host.scale

    def raw_features(self, learned: Learned, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return image features [B, d] and class features [C, d], not of unit length."""
        with as_they_are(self.clip):
            return self.host.image_features(learned, images), self.host.class_features(learned)

    def class_features(self, learned: Learned) -> Any:
        """Return the host's."""
        return self.host.class_features(learned)

    def scores(self, learned: Learned, images: Tensor, class_features: Any, seen: bool = True) -> Tensor:
        """Return the host's."""
        return self.host.scores(learned, images, class_features, seen)

    def training_scores(self, learned: Learned, images: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        """Return the host's scores, whatever an evaluation makes of them."""
        own = self.host.scores(learned, images, self.class_features(learned))
        return self.host.training_scores(learned, images, labels, own)

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Return the host's."""
        return self.host.loss(learned, images, labels)


@dataclass(frozen=True)
class PluginReference:
    """The facts about one plug-in.

    Attributes:
        plain: builds the equations around a host's, from its configuration and the class names.
        hosts: the methods that it is compared around in float64.
        draw: its settings of that comparison, each chosen by ``Pick``.
        numbers: its golden arrays, around any host that it has them for.
        bounds: as a ``Reference`` has them.
    """

    plain: Callable[[Plain, Any, list[str]], Plain]
    hosts: tuple[str, ...]
    draw: Callable[[Pick], Options] = lambda pick: {}
    numbers: type[Numbers] = Numbers
    bounds: Mapping[str, float] = field(default_factory=dict)

    def titles(self, name: str) -> list[str]:
        """Return the hosts with the plug-in, called ``name``, around them."""
        return [f"{host}+{name}" for host in self.hosts]

    def around(self, host: Reference) -> Reference:
        """Return the facts about a host with this plug-in around it."""
        return replace(
            host,
            plain=lambda weights, names, cfg: self.plain(host.plain(weights, names, cfg), cfg, names),
            draw=lambda pick, vision, text: {**host.draw(pick, vision, text), **self.draw(pick)},
            numbers=self.numbers,
            bounds={**host.bounds, **self.bounds},
        )
