"""MetaPrompt's golden numbers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, images_of
from tools.goldens.steps import fill_rival, optimizer_of
from trainers.metaprompt import MetaPromptModel, across_classes
from trainers.templates import TEMPLATES


def build(setting: dict[str, Any], clip_model: CLIP) -> MetaPromptModel:
    """MetaPrompt as the setting has it, with the data set's prompt."""
    config = setting["config"]
    templates = [TEMPLATES[setting["dataset"]].removesuffix(".")]
    model = MetaPromptModel(
        clip_model, setting["classes"], templates, config["n_ctx"], config["n_pro"], config["layers"]
    )
    fill_rival(setting, model)
    return model


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """Features, terms, gradients of the first part, and both ways to train on one batch with scores after it."""
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    terms, logits = model.terms(images, labels)
    sum(terms.values()).backward()
    (f, f_0), (w, w_0) = model.image_features(images), model.class_features()
    logits_i, logits_t = model.logits_of(f, f_0, w, w_0)
    arrays = arrays_of(
        {f"loss/{name}": value for name, value in terms.items()}
        | {"logits": logits, "logits_i": logits_i, "logits_t": logits_t, "loss0": sum(terms.values())}
        | {"image_features": f, "image_features_clip": f_0, "text_features": w, "text_features_clip": w_0}
        | {f"grad/{name}": value.grad for name, value in model.named_parameters()}
        | {f"gradnorm/{name}": value.grad.norm() for name, value in model.named_parameters()}
    )
    copied = _trained(setting, copy.deepcopy(model), restore_each=True)
    arrays |= {f"copy_restore/{name}": value for name, value in copied.items() if name != "losses"}
    return arrays | {"losses_copy": copied["losses"]} | _trained(setting, model, restore_each=False)


def _trained(setting: dict[str, Any], model: Any, restore_each: bool) -> dict[str, np.ndarray]:
    images, labels = images_of(setting), torch.tensor(setting["labels"])
    optimizer = optimizer_of(setting, model)
    rate = setting["optimizer"]["lr"] * setting["config"]["meta_step"]

    def update(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, model.theta)[0]

    arrays: dict[str, Any] = {}
    losses, pairs = [], np.zeros((setting["steps"], 2, 2))  # 0 where a half is skipped
    for step, order in enumerate(setting["class_orders"]):
        loss, _ = model.loss(images, labels)
        losses.append(loss.item())
        update(loss)
        found = across_classes(model, setting["labels"], order, update, gradient, rate, restore_each)
        for half, pair in enumerate(found):
            pairs[step, half] = [value.item() for value in pair]
        if step == 0:
            arrays = {f"iter1/{name}": value for name, value in arrays_of(dict(model.named_parameters())).items()}
    arrays |= {f"final/{name}": value for name, value in arrays_of(dict(model.named_parameters())).items()}
    arrays |= {"losses": np.array(losses), "losses_inner": pairs[..., 0], "losses_outer": pairs[..., 1]}
    with torch.no_grad():
        return arrays | arrays_of({"eval_logits": model.scores(images, model.class_features())})
