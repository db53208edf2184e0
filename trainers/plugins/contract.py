"""What a plug-in is, and a method with plug-ins around it.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..shared.cosine import l2_normalize
from ..shared.method import DualEncoder, Method
from . import PLUGINS, check


class Offer(NamedTuple):
    """What a host may offer, in words, and whether one does."""

    what: str
    has: Callable[[Method], bool]


OFFERS = {
    "features": Offer(
        "image features [B, d] and class features [C, d] whose cosines are its scores and enter its cross-entropy",
        lambda host: isinstance(host, DualEncoder) and host.shows_features(),
    ),
    "teacher": Offer(
        "frozen CLIP's features [C, d] of its classes (text_features_clip)",
        lambda host: isinstance(getattr(host, "text_features_clip", None), Tensor),
    ),
}


class Step(NamedTuple):
    """What a host computed in a training step. Features are not normalised, and None where it does not offer them."""

    host: Any
    labels: Tensor  # [B]
    scores: Tensor  # [B, C]
    image_features: Tensor | None  # [B, d]
    class_features: Tensor | None  # [C, d]


class Seen(NamedTuple):
    """What a host computed of images that are evaluated, or that a plug-in is fitted to."""

    host: Any
    class_features: Any  # for ``host.one_feature_per_class``; where the host offers features [C, d], not normalised
    image_features: Tensor | None  # [B, d], not normalised; None where the host does not offer them


class Labelled(NamedTuple):
    """A batch of validation images: what the host computed, its scores ``[B, C]``, and the labels ``[B]``."""

    seen: Seen
    scores: Tensor
    labels: Tensor


def logits_of(host: Any, scores: Tensor) -> Tensor:
    """Return scores ``[B, C]`` before the softmax: the logarithm of scores that are probabilities already (MMRL's)."""
    logits: Tensor = host.log_probabilities(scores) if host.probabilities(scores) is scores else scores
    return logits


def scores_of(host: Any, logits: Tensor, before: Tensor) -> Tensor:
    """Return logits ``[B, C]`` as the kind of scores that ``before`` are, from which ``logits_of`` came."""
    return logits.softmax(dim=1) if host.probabilities(before) is before else logits


class Plugin(nn.Module):
    """Base of the plug-ins; the host is none of its submodules. What a subclass leaves out changes nothing.

    Args:
        host: the method, as built.
        cfg: the run's configuration.
        classnames: C names.
    """

    needs: tuple[str, ...] = ()
    lr_factor = 1.0

    def __init__(self, host: Any, cfg: Any, classnames: Sequence[str]):
        super().__init__()
        self.settings: Any = self.settings_of(cfg)
        self.classnames = list(classnames)

    @classmethod
    def settings_of(cls, cfg: Any) -> Any:
        """Return the plug-in's settings. Raises ValueError naming the key whose value is not allowed."""
        entry = PLUGINS[cls.__name__]
        return entry.settings.of(cfg.TRAINER[entry.node])

    @classmethod
    def refusal(cls, host: Any, cfg: Any) -> str:
        """Return why it cannot stand around a host that offers what it needs, or "": the end of a sentence."""
        return ""

    def loss(self, step: Step, loss: Tensor) -> Tensor:
        """Return the training loss, from the one so far."""
        return loss

    def scores(self, seen: Seen, scores: Tensor) -> Tensor:
        """Return evaluation scores ``[B, C]``, from those so far; the host's ``probabilities`` are taken of them."""
        return scores

    def fit(self, batches: Callable[[], Iterable[Labelled]]) -> None:
        """Find numbers, kept as buffers, on validation images with the scores so far; ``batches()`` goes over them.

        They are the few-shot draw's validation images of the classes trained on, never tested and never trained on.
        """

    def use_classes(self, seen: bool) -> None:
        """Say whether the classes to score are exactly those trained on."""

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Get ready to load its tensors of a checkpoint, learned on these classes (None where it does not say)."""


class Plugged(nn.Module):
    """A method with plug-ins around it: what is trained, scored and loaded is theirs, all else the method's.

    Their tensors are in the ``state_dict`` of the method, ``host``, under each plug-in's name.
    """

    host: Any

    def __init__(self, host: Method, plugins: Mapping[str, Plugin]):
        super().__init__()
        self.host, self.names, self.features = host, list(plugins), OFFERS["features"].has(host)
        for name, plugin in plugins.items():
            host.add_module(name, plugin)

    def __getattr__(self, name: str) -> Any:
        host = self.__dict__["_modules"].get("host")
        return host if name == "host" else getattr(host, name)

    @property
    def plugins(self) -> dict[str, Any]:
        """Return the plug-ins by name, in their order."""
        return {name: self.host.get_submodule(name) for name in self.names}

    @property
    def fits(self) -> bool:
        """Return whether a plug-in finds numbers on validation images."""
        return any(type(plugin).fit is not Plugin.fit for plugin in self.plugins.values())

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the scores ``[B, C]`` of training accuracy, the host's."""
        host, v, t = self.host, None, None
        if self.features:
            t, v = host.raw_class_features(), host.raw_image_features(images)
            loss, scores = host.loss_of(v, t, labels)
        else:
            loss, scores = host.loss(images, labels)
        step = Step(host, labels, scores, v, t)
        for plugin in self.plugins.values():
            loss = plugin.loss(step, loss)
        return loss, scores

    def class_features(self) -> Any:
        """Return what ``scores`` needs of the classes: the host's, but not normalised where it offers them."""
        return (self.host.raw_class_features if self.features else self.host.class_features)()

    def scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Return evaluation scores ``[B, C]`` through all plug-ins."""
        seen, scores = self._seen(images, class_features)
        return self._through(self.names, seen, scores)

    def use_classes(self, seen: bool) -> None:
        """Tell the host and the plug-ins."""
        for part in (self.host, *self.plugins.values()):
            part.use_classes(seen)

    def use_all_classes(self) -> None:
        """Tell the host and the plug-ins, to which some classes are then others than those trained on."""
        self.host.use_all_classes()
        for plugin in self.plugins.values():
            plugin.use_classes(False)

    def joint_scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Return log-probabilities ``[B, R, C]`` by each of the host's ``rules``, each through all plug-ins."""
        if type(self.host).joint_scores is Method.joint_scores:
            return self.host.log_probabilities(self.scores(images, class_features))[:, None]
        seen, rules = Seen(self.host, class_features, None), self.host.joint_scores(images, class_features).unbind(1)
        return torch.stack([self._through(self.names, seen, one).log_softmax(dim=-1) for one in rules], dim=1)

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Get host and plug-ins ready to load a checkpoint's tensors."""
        starts = tuple(f"{name}." for name in self.names)
        self.host.fit_to({key: value for key, value in tensors.items() if not key.startswith(starts)}, classnames)
        for name, plugin in self.plugins.items():
            own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
            plugin.fit_to(own, classnames)

    def fit(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Fit the plug-ins, each with the scores that those before it give, to images and labels ``[B]``."""
        class_features = self.class_features()
        for i, plugin in enumerate(self.plugins.values()):
            before = self.names[:i]

            def labelled(before: Sequence[str] = before) -> Iterable[Labelled]:
                for images, labels in batches():  # without gradients: the plug-in may take some of its own numbers
                    seen, scores = self._seen(images, class_features)
                    yield Labelled(seen, self._through(before, seen, scores), labels)

            plugin.fit(labelled)

    def _seen(self, images: Tensor, class_features: Any) -> tuple[Seen, Tensor]:
        host = self.host
        if not self.features:
            return Seen(host, class_features, None), host.scores(images, class_features)
        v = host.raw_image_features(images)
        return Seen(host, class_features, v), host.scores_of(v, l2_normalize(class_features))

    def _through(self, names: Iterable[str], seen: Seen, scores: Tensor) -> Tensor:
        for name in names:
            scores = self.plugins[name].scores(seen, scores)
        return scores


def plug(host: Method, cfg: Any, classnames: Sequence[str]) -> Any:
    """Return the host with the run's plug-ins around it; itself where there are none.

    Raises ValueError naming a plug-in that there is not, or that cannot stand around this host, with the reason.
    """
    check(cfg)
    names = list(cfg.TRAINER.PLUGINS)
    if not names:
        return host
    device = host.clip_model.positional_embedding.device
    return Plugged(host, {name: _build(name, host, cfg, classnames).to(device) for name in names})


def _build(name: str, host: Method, cfg: Any, classnames: Sequence[str]) -> Plugin:
    kind: type[Plugin] = getattr(import_module(PLUGINS[name].module), name)
    for need in kind.needs:
        if not OFFERS[need].has(host):
            raise ValueError(
                f"TRAINER.PLUGINS: {name} needs {OFFERS[need].what}; {cfg.TRAINER.NAME} does not offer them"
            )
    if reason := kind.refusal(host, cfg):
        raise ValueError(f"TRAINER.PLUGINS: {name} cannot stand around {cfg.TRAINER.NAME}: {reason}")
    return kind(host, cfg, classnames)


def parameter_groups(plugged: Any, rate: float) -> list[dict[str, Any]]:
    """Return what is learned in groups of one learning rate: the host's ``rate``, and each plug-in's multiple of it."""
    host, plugins = plugged.host, plugged.plugins
    theirs = {id(value) for plugin in plugins.values() for value in plugin.parameters()}
    groups = [{"params": [value for value in host.parameters() if id(value) not in theirs], "lr": rate}]
    groups += [{"params": list(one.parameters()), "lr": rate * one.lr_factor} for one in plugins.values()]
    return [group for group in groups if group["params"]]
