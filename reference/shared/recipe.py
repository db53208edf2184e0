"""Weights, learned tensors and images from one recipe, so that none need to be stored."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

VOCABULARY, CONTEXT = 49408, 77
GAMMA = 0x9E3779B97F4A7C15
AT_ONCE = 1 << 15  # numbers that caches hold


def fill(name: str, shape: tuple[int, ...] | list[int], std: float) -> Tensor:
    """Uniform float32 values of standard deviation ``std``, C order: a splitmix stream seeded by ``crc32(name)``."""
    values = np.empty(int(np.prod(shape, dtype=np.int64)), np.float32)
    for start in range(0, len(values), AT_ONCE):
        part = values[start : start + AT_ONCE]
        part[:] = (_uniform(zlib.crc32(name.encode()), start + 1, len(part)) - 0.5) * np.sqrt(12.0) * std
    return torch.from_numpy(values.reshape(shape))


def _uniform(seed: int, start: int, count: int) -> np.ndarray:
    """So many numbers of a seed's stream in [0, 1), from the one at ``start`` on."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(GAMMA) + np.arange(start, start + count, dtype=np.uint64) * np.uint64(GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def clip_weights(sizes: dict[str, int]) -> dict[str, Tensor]:
    """The recipe's CLIP under OpenAI's names; ``sizes`` has embed, res, patch, vw, vl, tw, tl."""
    vw, tw, embed, patch = sizes["vw"], sizes["tw"], sizes["embed"], sizes["patch"]
    grid = sizes["res"] // patch
    weights: dict[str, Tensor] = {"logit_scale": torch.tensor(4.6052)}

    def put(name: str, shape: tuple[int, ...], std: float) -> None:
        weights[name] = fill(name, shape, std)

    def norm(name: str, width: int) -> None:
        weights[f"{name}.weight"] = 1 + fill(f"{name}.weight", (width,), 0.1)
        weights[f"{name}.bias"] = fill(f"{name}.bias", (width,), 0.1)

    def tower(prefix: str, width: int, layers: int) -> None:
        deep = width**-0.5 * (2 * layers) ** -0.5
        for i in range(layers):
            block = f"{prefix}transformer.resblocks.{i}."
            norm(f"{block}ln_1", width)
            norm(f"{block}ln_2", width)
            put(f"{block}attn.in_proj_weight", (3 * width, width), width**-0.5)
            put(f"{block}attn.in_proj_bias", (3 * width,), 0.02)
            put(f"{block}attn.out_proj.weight", (width, width), deep)
            put(f"{block}attn.out_proj.bias", (width,), 0.02)
            put(f"{block}mlp.c_fc.weight", (4 * width, width), (2 * width) ** -0.5)
            put(f"{block}mlp.c_fc.bias", (4 * width,), 0.02)
            put(f"{block}mlp.c_proj.weight", (width, 4 * width), deep)
            put(f"{block}mlp.c_proj.bias", (width,), 0.02)

    put("visual.class_embedding", (vw,), 0.02)
    put("visual.positional_embedding", (grid * grid + 1, vw), 0.02)
    put("visual.conv1.weight", (vw, 3, patch, patch), 0.02)
    put("visual.proj", (vw, embed), vw**-0.5)
    put("token_embedding.weight", (VOCABULARY, tw), 0.02)
    put("positional_embedding", (CONTEXT, tw), 0.01)
    put("text_projection", (tw, embed), tw**-0.5)
    norm("visual.ln_pre", vw)
    norm("visual.ln_post", vw)
    norm("ln_final", tw)
    tower("visual.", vw, sizes["vl"])
    tower("", tw, sizes["tl"])
    return weights


def usual_std(name: str, shape: list[int]) -> float:
    """``(3 last dimension)^-0.5`` for weight matrices, ``(first dimension)^-0.5`` for MMRL's projection, else 0.02.

    The last are prompt and context vectors, and biases.
    """
    if name.endswith("proj_rep"):
        return shape[0] ** -0.5
    return (3 * shape[-1]) ** -0.5 if name.split(".")[-1] in ("weight", "A", "B") else 0.02


def images_of(setting: dict[str, Any]) -> Tensor:
    """The setting's batch ``[B, 3, H, W]``."""
    side = setting["clip"]["res"]
    return fill("images", (setting["batch"], 3, side, side), 1.0)


def arrays_of(values: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors as arrays of their own."""
    return {name: value.detach().numpy().copy() for name, value in values.items()}
