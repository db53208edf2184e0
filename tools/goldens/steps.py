"""Training steps on the setting's batch, as the rivals' golden numbers have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tools.goldens.recipe import fill, images_of, usual_std

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
OPTIONS = ("lr", "momentum", "weight_decay", "dampening", "nesterov", "betas", "eps")


def fill_rival(setting: dict[str, Any], model: torch.nn.Module, prefix: str = "") -> None:
    """Overwrite the learned tensors, whose names in the setting begin with ``prefix``, by the recipe.

    ``fill_std`` of the setting, where it has one, says how wide. Raises ValueError when names or shapes differ.
    """
    learned = {f"{prefix}{name}": value for name, value in model.named_parameters()}
    found = {name: list(value.shape) for name, value in learned.items()}
    wanted = setting["trainable"]
    if found != wanted:
        odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise ValueError(f"learned tensors differ from the setting's: {', '.join(odd)}")
    for name, value in learned.items():
        std = setting.get("fill_std", {}).get(name, usual_std(name, found[name]))
        value.data.copy_(fill(name, found[name], std))


def optimizer_of(setting: dict[str, Any], model: torch.nn.Module) -> torch.optim.Optimizer:
    """The setting's optimiser over all learned tensors."""
    numbers = setting["optimizer"]
    options = {key: numbers[key] for key in OPTIONS if key in numbers}
    return OPTIMIZERS[numbers["name"].lower()](model.parameters(), **options)


def train(
    setting: dict[str, Any], model: Any, prefix: str = "", after_step: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """``loss0``, gradients of the first step (with their norms and strided parts), ``losses``, final tensors.

    ``after_step`` is called after every step.
    """
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    optimizer = optimizer_of(setting, model)
    learned = {f"{prefix}{name}": value for name, value in model.named_parameters()}
    arrays: dict[str, np.ndarray] = {}
    losses = []
    for step in range(setting["steps"]):
        loss, _ = model.loss(images, labels)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            arrays["loss0"] = np.array(loss.item())
            for name, value in learned.items():
                grad = value.grad.numpy().copy()
                arrays |= {f"grad/{name}": grad, f"gradnorm/{name}": np.array(np.linalg.norm(grad))}
                stride = setting.get("gradsub_stride", {}).get(name, 1)
                arrays[f"gradsub/{name}"] = grad.flatten()[::stride]
        optimizer.step()
        after_step()
    arrays |= {f"final/{name}": value.detach().numpy().copy() for name, value in learned.items()}
    return arrays | {"losses": np.array(losses)}
