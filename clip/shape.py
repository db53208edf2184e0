"""What a state dict tells of its CLIP (all sizes), and what it does not (``Computation``, ``Preprocess``)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Computation:
    """What a state dict's tensors do not tell; by default as in all of OpenAI's models."""

    quick_gelu: bool = True  # else plain GELU
    vision_head_width: int = 64
    text_head_width: int = 64

    def __str__(self) -> str:
        """In words, such as ``QuickGELU, heads of 64``."""
        widths = dict.fromkeys((self.vision_head_width, self.text_head_width))
        return f"{'QuickGELU' if self.quick_gelu else 'GELU'}, heads of {' and '.join(map(str, widths))}"


@dataclass(frozen=True)
class Preprocess:
    """How the images that a checkpoint was trained on were made, beside their size; by default as OpenAI's."""

    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)  # RGB in [0, 1]
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"  # or "bilinear"
    squash: bool = False  # resize to a square whatever the shape, else resize the shorter side and crop


OPENAI = Computation()
OPENAI_IMAGES = Preprocess()


@dataclass(frozen=True)
class Architecture:
    """What a model's configuration says.

    ``shape`` are arguments of ``CLIP`` that its weights must fit; ``side`` is that of its images in pixels, and
    ``preprocess`` None where no file says how they are made. ``foreign`` says what of it is not computed as CLIP is;
    then ``config`` is open_clip's configuration, and ``computation`` and ``shape`` mean nothing.
    """

    name: str
    computation: Computation
    shape: Mapping[str, Any]
    side: int
    preprocess: Preprocess | None = None
    foreign: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


def infer_shape(state_dict: Mapping[str, Tensor], computation: Computation = OPENAI) -> dict:
    """Return the arguments of ``CLIP`` that a state dict implies. Raises ValueError naming the first missing key."""
    sd = state_dict
    try:
        embed_dim = sd["text_projection"].shape[1]
        context_length, text_width = sd["positional_embedding"].shape
        shape: dict = {
            "embed_dim": embed_dim,
            "context_length": context_length,
            "vocab_size": sd["token_embedding.weight"].shape[0],
            "transformer_width": text_width,
            "transformer_heads": max(1, text_width // computation.text_head_width),
            "transformer_layers": _count(sd, r"transformer\.resblocks\.(\d+)\."),
            "transformer_mlp_width": sd["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "quick_gelu": computation.quick_gelu,
        }
        if "visual.proj" in sd:
            width, _, patch, _ = sd["visual.conv1.weight"].shape
            grid = math.isqrt(sd["visual.positional_embedding"].shape[0] - 1)
            shape |= {
                "vision_width": width,
                "vision_patch_size": patch,
                "image_resolution": grid * patch,
                "vision_layers": _count(sd, r"visual\.transformer\.resblocks\.(\d+)\."),
                "vision_heads": max(1, width // computation.vision_head_width),
                "vision_mlp_width": sd["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            }
        else:
            grid = math.isqrt(sd["visual.attnpool.positional_embedding"].shape[0] - 1)
            shape |= {
                "vision_width": sd["visual.layer1.0.conv1.weight"].shape[0],
                "vision_patch_size": None,
                "image_resolution": grid * 32,
                "vision_layers": tuple(_count(sd, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)),
            }
    except KeyError as missing:
        first = ", ".join(list(sd)[:3])
        raise ValueError(
            f"this is not a CLIP state dict: it has no {missing.args[0]!r} (its first keys: {first}); "
            "give the weights of a CLIP ViT or ResNet under the names of OpenAI, open_clip or Hugging Face"
        ) from None
    return shape


def check_images(images: Tensor, side: int) -> None:
    """Raise ValueError unless images are ``[B, 3, side, side]``, as an image tower takes them."""
    if images.dim() != 4 or tuple(images.shape[1:]) != (3, side, side):
        raise ValueError(
            f"this image tower takes images [B, 3, {side}, {side}], not {list(images.shape)}: "
            f"set INPUT.SIZE to ({side}, {side})"
        )


def _count(keys: Iterable[str], pattern: str) -> int:
    found = {match.group(1) for match in map(re.compile(pattern).match, keys) if match}
    if not found:
        raise KeyError(pattern.replace("\\", "").replace("(d+).", "0"))
    return len(found)
