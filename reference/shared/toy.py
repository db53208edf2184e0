"""Random toy CLIPs under OpenAI's names, and prompts as token ids, for tests and benchmarks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clip.model import CLIP

BOT, EOT, WORDS = 60, 61, 60


def clip_weights(
    seed: int = 0,
    *,
    embed: int = 16,
    res: int = 16,
    patch: int = 8,
    vision: tuple[int, int] = (64, 3),
    text: tuple[int, int] = (64, 3),
    vocabulary: int = 62,
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> dict[str, Tensor]:
    """State dict of a ViT CLIP; ``vision`` and ``text`` are (width, layers), ``more`` goes to ``CLIP``.

    LayerNorms and biases are not trivial.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = max(1, text[0] // 64)
        model = CLIP(embed, res, vision[1], vision[0], patch, 77, vocabulary, text[0], heads, text[1], **more)
    weights = model.state_dict()
    for name, value in weights.items():
        if "ln_" in name or name.endswith("bias"):
            value += 0.1 * torch.randn(value.shape, generator=generator)
    return {name: value.to(dtype) for name, value in weights.items()}


def prompt_ids(names: list[list[int]], before: list[int], after: list[int]) -> Tensor:
    """Token ids ``[C, 77]``: BOT, words before, the class's own words, words after, EOT, zeros."""
    ids = torch.zeros(len(names), 77, dtype=torch.long)
    for row, name in zip(ids, names, strict=True):
        words = [BOT, *before, *name, *after, EOT]
        row[: len(words)] = torch.tensor(words)
    return ids
