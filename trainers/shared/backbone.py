"""The frozen CLIP of a run: in the precision asked for, with the images it was trained on, for methods that fit."""

from __future__ import annotations

import os
from typing import Any

import torch

from clip.model import CLIP
from clip.weights import Checkpoint, find

from .checkpoints import digest_of
from .images import SQUASH, describe, same, statistics_of


def load_clip(source: Checkpoint | str | os.PathLike[str], precision: str, device: torch.device) -> CLIP:
    """Return frozen CLIP on ``device`` from a checkpoint, or a name as ``clip.weights.find`` takes it.

    Of a model that is no CLIP it is an ``ImageTextModel``, for the methods that ``check_method`` lets have it. Weights
    that autocast would cast at every use are cast once, with the same values. Raises as ``find`` and
    ``Checkpoint.build`` do.
    """
    checkpoint = source if isinstance(source, Checkpoint) else find(source)
    low = {"fp16": torch.float16, "amp": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    model = checkpoint.build(low, projections=precision == "fp16")
    return model.requires_grad_(False).to(device)


def weights_id(checkpoint: Checkpoint) -> str:
    """Return what learned tensors belong to: the file's digest, and how it computes if not in OpenAI's way."""
    digest = digest_of(checkpoint.path)
    return f"{digest} ({checkpoint.computed})" if checkpoint.computed else digest


def check_method(backbone: str, method: str, on_frozen_features: bool) -> None:
    """Raise ValueError where a backbone's layers are not CLIP's, and a method needs more than its features."""
    known = None if on_frozen_features else describe(backbone)
    if known and known.foreign:
        from .. import METHODS, load

        names = ", ".join(name for name in METHODS if load(name).on_frozen_features)
        raise ValueError(
            f"MODEL.BACKBONE.NAME: {method} works within the layers of CLIP, and {known.name} has others "
            f"({known.foreign}); methods that work on features: {names}"
        )


def unknowns(name: str, checkpoint: Checkpoint, images_as: str = "as INPUT says") -> dict[str, str]:
    """Return what nobody can check of a checkpoint called ``name``, or does not hold here: lines, by their subject.

    ``images_as``: how images are made where their kind is not known.
    """
    found = {}
    if checkpoint.assumed:
        found["backbone"] = (
            f"{name} does not say how it computes: taken as {checkpoint.computation}; for another way give "
            "open_clip:ARCH:FILE, or Hugging Face's folder with its config.json"
        )
    if checkpoint.preprocess is None:
        images = f"the images that {name} was trained on are not known: normalised and resized {images_as}"
        found["backbone_images"] = images
    return found


def check_input(node: Any, name: str, checkpoint: Checkpoint, side: int) -> None:
    """Compare ``cfg.INPUT`` with the images that ``checkpoint``, called ``name``, was trained on, ``side`` x ``side``.

    Raises ValueError with the options to add where they differ.
    """
    wanted = {"SIZE": (side, side)} | statistics_of(checkpoint.preprocess)
    options = [f'INPUT.{key} "{value}"' for key, value in wanted.items() if not same(node[key], value)]
    if checkpoint.preprocess and checkpoint.preprocess.squash and SQUASH not in node.TRANSFORMS:
        options.append(f'INPUT.TRANSFORMS "{[*node.TRANSFORMS, SQUASH]}"')
    if options:
        raise ValueError(f"{name} was trained on other images than INPUT describes: add {' '.join(options)}")
