"""MMRL's golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip.model import CLIP
from tools.goldens.recipe import arrays_of, fill_learned, images_of, usual_std
from trainers.mmrl import MMRLModel, Settings
from trainers.templates import TEMPLATES
from trainers.templates import fill as fill_template


def build(setting: dict[str, Any], clip_model: CLIP) -> MMRLModel:
    """MMRL as the setting has it; its fused arrays mix logits, as the authors' code does."""
    settings = Settings(
        alpha=setting["alpha"],
        reg_weight=setting["reg_weight"],
        rep_layers=tuple(setting["rep_layers"]),
        rep_dim=setting["rep_dim"],
        n_rep_tokens=setting["K"],
        fusion="logits",
    )
    prompts = fill_template(TEMPLATES[setting["dataset"]], setting["classes"])
    model = MMRLModel(clip_model, prompts, settings)
    width = setting["clip"]["vw"]
    fill_learned(model, setting["trainable"], lambda name, shape: _std(name, shape, width))
    return model


def _std(name: str, shape: list[int], vision_width: int) -> float:
    return vision_width**-0.5 if name.endswith("proj_rep") else usual_std(name, shape)


def recompute(setting: dict[str, Any], model: Any) -> dict[str, np.ndarray]:
    """First step, training curve on one batch, and evaluation after it."""
    images = images_of(setting)
    labels = torch.tensor(setting["labels"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=setting["lr"], weight_decay=setting["weight_decay"])
    arrays: dict[str, Any] = {}
    losses = []
    for step in range(setting["steps"]):
        out = model(images)
        loss = model.loss_of(out, labels)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            arrays |= out._asdict() | {"logits_fusion": model.fuse(out.logits, out.logits_rep)}
            for name, value in model.named_parameters():
                arrays[f"gradnorm/{name}"] = value.grad.norm()
                arrays[f"grad/{name}"] = value.grad.clone()
        optimizer.step()
    with torch.no_grad():
        out = model(images)
    arrays |= {
        "eval_logits": out.logits,
        "eval_logits_rep": out.logits_rep,
        "eval_logits_fusion": model.fuse(out.logits, out.logits_rep),
        "final/compound_rep_tokens": model.representation_learner.compound_rep_tokens,
    }
    return arrays_of(arrays) | {"losses": np.array(losses)}
