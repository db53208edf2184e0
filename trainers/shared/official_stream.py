"""OFFICIAL_STREAM: a run's learned tensors and its random stream as the method's public code has them with this seed.

The public codes build their CLIPs module by module with initial values, which checkpoints then replace. So where the
stream stands when a method draws its own tensors, and when training begins, depends on all that was drawn before. A
trainer says as data what its public code draws, in order (``official_draws``); here that is done over, on the CPU as
there, and only what is learned is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clip.draws import Draw, linear, of_clip, perform
from clip.model import CLIP

if TYPE_CHECKING:
    from .base import Method


class Unknown(ValueError):
    """What the public code draws is not known, so ``OFFICIAL_STREAM True`` cannot be had."""

    def __init__(self, why: str) -> None:
        super().__init__(f"--official-stream (OFFICIAL_STREAM): {why}")


def stand(model: Method, draws: Iterable[Draw], seed: int) -> None:
    """Put torch's generators where the public code's stand when training begins, and its values into ``model``."""
    torch.manual_seed(seed)
    tensors = model.state_dict()
    for draw, values in perform(draws):
        for name in draw.keep:
            tensors[name].copy_(model.from_noise(name, values))


def a_clip(model: Any, *within: tuple[str, Draw]) -> Iterator[Draw]:
    """Yield the draws of building a CLIP; ``within`` are pairs: a tensor's name in it, an own draw behind that.

    Raises Unknown for another model.
    """
    if not isinstance(model.clip_model, CLIP):
        raise Unknown("public codes build a CLIP, and this backbone is none; leave it out")
    return of_clip(model.clip_model.state_dict(), dict(within))


def normal(model: nn.Module, name: str, std: float, dtype: torch.dtype = torch.float32) -> Draw:
    """Return the draw of the model's tensor ``name`` from N(0, std^2)."""
    return Draw(name, "normal", _shape(model, name), std, keep=(name,), dtype=dtype)


def uniform(model: nn.Module, name: str, bound: float) -> Draw:
    """Return the draw of the model's tensor ``name``, uniform in +-bound."""
    return Draw(name, "uniform", _shape(model, name), bound, keep=(name,))


def one_linear(model: nn.Module, *names: str) -> list[Draw]:
    """Return the draws of an ``nn.Linear`` that all the model's modules of these names start from."""
    first = model.get_submodule(names[0])
    return linear(names[0], _shape(model, f"{names[0]}.weight"), getattr(first, "bias", None) is not None, names)


def words_or(model: nn.Module, name: str, words: Any, std: float, dtype: torch.dtype) -> list[Draw]:
    """Return the draws of the context called ``name``: none where it starts from words."""
    return [] if words else [normal(model, name, std, dtype)]


def _shape(model: nn.Module, name: str) -> tuple[int, ...]:
    value: Tensor = model.state_dict(keep_vars=True)[name]
    return tuple(value.shape)
