"""MMRL++'s golden numbers: MMRL's arrays."""

from __future__ import annotations

from typing import Any

from clip.model import CLIP
from tools.goldens.mmrl import recompute
from tools.goldens.recipe import fill_learned
from trainers.mmrlpp import MMRLppModel, PlusSettings
from trainers.templates import TEMPLATES
from trainers.templates import fill as fill_template

__all__ = ["build", "recompute"]


def build(setting: dict[str, Any], clip_model: CLIP) -> MMRLppModel:
    """MMRL++ as the setting has it; its fused arrays mix logits, as the authors' code does."""
    settings = PlusSettings(
        alpha=setting["alpha"],
        reg_weight=setting["reg_weight"],
        rep_layers=tuple(setting["rep_layers"]),
        rep_dim=setting["rep_dim"],
        n_rep_tokens=setting["K"],
        fusion="logits",
        beta=setting["beta"],
        res_lora_dim=setting["res_lora_dim"],
        proj_lora_dim=setting["proj_lora_dim"],
    )
    prompts = fill_template(TEMPLATES[setting["dataset"]], setting["classes"])
    model = MMRLppModel(clip_model, prompts, settings)
    fill_learned(model, setting["trainable"])
    return model
