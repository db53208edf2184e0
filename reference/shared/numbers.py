"""Golden numbers of any method: before training, of the first step, of the steps on one batch, and after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from .recipe import arrays_of, fill, images_of, usual_std

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
OPTIONS = ("lr", "momentum", "weight_decay", "dampening", "nesterov", "betas", "eps")


class Numbers:
    """A setting's model, filled by the recipe, and its golden arrays. A method with arrays of its own has a subclass.

    Attributes: ``model``, as a run of ``cfg`` has it; ``plugged``, with its plug-ins around it if it has any;
    ``prefix`` of the learned tensors' names in the setting, which may be those of the release's whole model;
    ``images`` ``[B, 3, H, W]`` and ``labels`` ``[B]`` of every step.

    Raises ValueError for a setting that the method refuses or differs from, KeyError for what the setting lacks.
    """

    def __init__(self, setting: dict[str, Any], cfg: CfgNode, build: Callable[[], Any]):
        self.setting, self.cfg = setting, cfg
        for key, value in self.literals(self.cfg).items():
            said = setting.get(key, setting.get("config", {}).get(key, value))
            if said != value:
                raise ValueError(f"{key} is {said!r}: a run of {self.cfg.TRAINER.NAME} has {value!r}")
        self.images, self.labels = images_of(setting), torch.tensor(setting["labels"])
        self.plugged = build()
        self.model = getattr(self.plugged, "host", self.plugged)
        self.prefix = ""
        self.fill()

    def literals(self, cfg: CfgNode) -> dict[str, Any]:
        """What a run has for keys of the setting that are not settings of the method."""
        return {}

    def fill(self) -> None:
        """Overwrite what is learned, and what the setting's ``frozen_filled`` names, by the recipe, name by name.

        ``fill_std`` and ``fill_offset`` of the setting, where it has them, say how wide and around what. Raises
        ValueError when names or shapes differ.
        """
        shapes, kept = self.setting.get("trainable", {}), dict(self.model.named_buffers())
        self.prefix = prefix_of(self.model, shapes)
        self._put(self.learned(), shapes, "learned tensors")
        frozen = self.setting.get("frozen_filled", {})
        self._put({name: kept[name] for name in frozen if name in kept}, frozen, "tensors of frozen_filled")

    def _put(self, tensors: Mapping[str, Tensor], wanted: dict[str, list[int]], what: str) -> None:
        found = {name: list(value.shape) for name, value in tensors.items()}
        if found != wanted:
            odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            raise ValueError(f"{what} differ from the setting's: {', '.join(odd)}")
        for name, value in tensors.items():
            std = self.setting.get("fill_std", {}).get(name, usual_std(name, found[name]))
            offset = self.setting.get("fill_offset", {}).get(name, 0.0)
            value.data.copy_(offset + fill(name, found[name], std))

    def learned(self) -> dict[str, nn.Parameter]:
        """The learned tensors by their names in the setting."""
        return {f"{self.prefix}{name}": value for name, value in self.model.named_parameters()}

    def recompute(self) -> dict[str, np.ndarray]:
        """Every array of the setting."""
        with torch.no_grad():
            arrays = arrays_of(self.before())
        if self.learned():
            arrays |= self.train()
        with torch.no_grad():
            return arrays | arrays_of(self.after())

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        w = self.model.class_features()
        scores = {"logits": self.scores()}
        return scores | ({"text_features": w} if isinstance(w, Tensor) else {})

    def scores(self) -> Tensor:
        """The evaluation scores ``[B, C]`` of the images."""
        return self.plugged.scores(self.images, self.plugged.class_features())

    def before_step(self, step: int) -> None:
        """Hook: what is looked at before a step."""

    def after_step(self) -> None:
        """Hook: what is looked at after a step."""

    def after(self) -> dict[str, Tensor]:
        """What the model gives after training."""
        return {"eval_logits": self.scores()}

    def train(self) -> dict[str, np.ndarray]:
        """``loss0``, gradients of the first step (with their norms and strided parts), ``losses``, final tensors."""
        optimizer, learned = self.optimizer(), self.learned()
        arrays: dict[str, np.ndarray] = {}
        losses = []
        for step in range(self.setting["steps"]):
            self.before_step(step)
            loss, _ = self.plugged.loss(self.images, self.labels)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                arrays |= {"loss0": np.array(loss.item()), **self._gradients()}
            optimizer.step()
            self.after_step()
        arrays |= arrays_of({f"final/{name}": value for name, value in learned.items()})
        return arrays | {"losses": np.array(losses)}

    def plain_loss(self, plain: Any, learned: dict[str, Tensor]) -> Tensor:
        """Return the first step's loss by the method's equations."""
        return plain.loss(learned, self.images, self.labels)

    def optimizer(self) -> torch.optim.Optimizer:
        """The setting's optimiser over all learned tensors: its ``optimizer``, else AdamW with its numbers."""
        numbers = self.setting.get("optimizer") or {"name": "adamw", **self.setting}
        options = {key: numbers[key] for key in OPTIONS if key in numbers}
        return OPTIMIZERS[numbers["name"].lower()](self.model.parameters(), **options)

    def _gradients(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for name, value in self.learned().items():
            assert value.grad is not None, f"{name} has no gradient"
            grad = value.grad.numpy().copy()
            arrays |= {f"grad/{name}": grad, f"gradnorm/{name}": np.array(np.linalg.norm(grad))}
            stride = self.setting.get("gradsub_stride", {}).get(name, 1)
            arrays[f"gradsub/{name}"] = grad.flatten()[::stride]
        return arrays


class WithImages(Numbers):
    """The arrays of a method whose model gives image features."""

    def before(self) -> dict[str, Tensor]:
        """What the model gives before training."""
        return super().before() | {"image_features": self.model.image_features(self.images)}


def prefix_of(model: nn.Module, wanted: dict[str, list[int]]) -> str:
    """What all names in a setting have before those of the model; nothing where they differ otherwise."""
    own = [name for name, _ in model.named_parameters()]
    starts = {name.removesuffix(own[0]) for name in wanted if own and name.endswith(own[0])}
    return next((start for start in sorted(starts) if {f"{start}{name}" for name in own} == wanted.keys()), "")
