"""CoOp's golden numbers, and what those of all who learn a context begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import trainers
from clip.model import CLIP
from dassl.config import get_cfg_default
from tools.goldens.recipe import arrays_of, fill_learned, images_of
from trainers.context import image_features, initial_vectors

LEARNER = "prompt_learner"


def build(setting: dict[str, Any], clip_model: CLIP) -> Any:
    """The model that the method's trainer builds for the setting's configuration, filled by the recipe."""
    cfg, config = get_cfg_default(), setting["config"]
    trainers.extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.DATASET.NAME = setting["method"], setting["dataset"]
    node = cfg.TRAINER[trainers.METHODS[setting["method"]].node]
    for part, prefix in ((node, ""), (cfg.LOSS, "loss_")):
        for key in part:
            part[key] = config.get(f"{prefix}{key.lower()}", part[key])
    model = trainers.load(setting["method"]).build_method(cfg, clip_model, setting["classes"])
    fill_learned(named(model), setting["trainable"])
    return model


def named(model: torch.nn.Module) -> torch.nn.Module:
    """The model under the setting's names, which are those of the release's whole model."""
    return torch.nn.ModuleDict({LEARNER: model})


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """What the model gives before training, first step, training curve on one batch, and evaluation after it."""
    before = {"text_features": model.class_features()}
    return arrays_of(before) | trained(setting, model)


def trained(
    setting: dict[str, Any], model: Any, watch: Callable[[int], None] = lambda step: None
) -> dict[str, np.ndarray]:
    """The arrays that all methods have; ``watch`` is called before each step."""
    images, labels, how = images_of(setting), torch.tensor(setting["labels"]), setting["optimizer"]
    options = {key: how[key] for key in ("lr", "momentum", "weight_decay", "dampening", "nesterov")}
    optimizer = torch.optim.SGD(model.parameters(), **options)
    start = initial_vectors(model.clip_model, model.prompts.context, len(setting["classes"]))
    arrays = {f"init/{LEARNER}.ctx": start, "image_features": image_features(model.clip_model, images)}
    with torch.no_grad():
        arrays["logits"] = model.scores(images, model.class_features())
    losses = []
    for step in range(setting["steps"]):
        watch(step)
        loss, logits = model.loss(images, labels)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            arrays |= {"loss0": loss, "loss/ce": F.cross_entropy(logits, labels)}
            parameters: dict[str, Any] = dict(named(model).named_parameters())
            grads = {name: value.grad.clone() for name, value in parameters.items()}
            arrays |= {f"gradnorm/{name}": grad.norm() for name, grad in grads.items()}
            arrays |= {f"grad/{name}": grad for name, grad in grads.items()}
        optimizer.step()
    with torch.no_grad():
        arrays["eval_logits"] = model.scores(images, model.class_features())
    arrays |= {f"final/{name}": value for name, value in named(model).named_parameters()}
    return arrays_of(arrays) | {"losses": np.array(losses)}
