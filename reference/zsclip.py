"""Zero-shot CLIP, plainly, from its equations; sharing no code with the trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import trainers
from reference import Reference

from .shared.official import Command
from .shared.plain import Learned, Plain, Weights, token_ids


class PlainZSCLIP(Plain):
    """exp(logit_scale) f w^T, w the mean of the templates' unit features, of unit length again.

    ``templates`` holds the tokens ``[C, 77]`` of each template.
    """

    def __init__(self, weights: Weights, templates: list[Tensor]):
        super().__init__(weights)
        self.text = F.normalize(sum(map(self.clip.text_feature, templates), torch.zeros(())) / len(templates), dim=-1)

    def class_features(self, learned: Learned) -> Tensor:
        return self.text


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainZSCLIP:
    """Build the equations."""
    templates = trainers.load(cfg.TRAINER.NAME).templates(cfg)
    return PlainZSCLIP(weights, [token_ids(weights, template, names) for template in templates])


def command(trainer: str) -> tuple[Command]:
    """Return the official command line of a trainer, which has no configuration of its own."""
    return (Command("../CoOp/vit_b16", "DATASET.SUBSAMPLE_CLASSES new", ("NAME", trainer)),)


ZeroshotCLIP = Reference(
    plain,
    learns=False,
    commands=command("ZeroshotCLIP"),
    lacks=dict.fromkeys(("golden", "checkpoints", "draws"), "it learns nothing"),
)
ZeroshotCLIP2 = replace(ZeroshotCLIP, commands=command("ZeroshotCLIP2"))
