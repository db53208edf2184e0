"""What OpenAI's code draws from torch's CPU generator while it builds a CLIP, as data.

Each module draws its default initial values when it is made, image tower first, and ``initialize_parameters`` then
draws some of them again; a checkpoint's weights take their place afterwards. What stays is where the generator stands.
It depends on shapes and order alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from . import mersenne

VECTORISED = 16  # from so many on, normal values are drawn 16 at a time, and a rest draws the last 16 again
AT_ONCE = 1 << 16  # numbers, while they stay in a cache
FAR = 1 << 22  # numbers, from which on a jump costs no more than drawing them


@dataclass(frozen=True)
class Draw:
    """One filling of a tensor: ``N(0, scale^2)``, or uniform in +-``scale``.

    ``keep`` are the tensors of a method that start from it; without any only the generator's movement counts.
    """

    name: str
    kind: str  # normal or uniform
    shape: tuple[int, ...]
    scale: float = 1.0
    keep: tuple[str, ...] = field(default=(), kw_only=True)
    dtype: torch.dtype = field(default=torch.float32, kw_only=True)

    def numbers(self) -> int:
        """Return how many numbers of 32 bits the generator gives for it, or 0 where only drawing it tells.

        Few normal values depend on what was drawn before them, and half precision goes its own way.
        """
        count = math.prod(self.shape)
        if self.dtype != torch.float32:
            return 0
        if self.kind == "uniform":
            return count
        if count < VECTORISED:
            return 0
        return count if count % VECTORISED == 0 else count + VECTORISED

    def values(self) -> Tensor:
        """Draw the tensor."""
        empty = torch.empty(self.shape, dtype=self.dtype)
        return empty.normal_(0, self.scale) if self.kind == "normal" else empty.uniform_(-self.scale, self.scale)


def default_bound(fan_in: int) -> float:
    """Return the bound of torch's default for weights, ``kaiming_uniform_(a=sqrt(5))``, to the last bit."""
    return math.sqrt(3.0) * (nn.init.calculate_gain("leaky_relu", math.sqrt(5)) / math.sqrt(fan_in))


def linear(name: str, shape: tuple[int, ...], bias: bool = True, keep: Iterable[str] = ()) -> list[Draw]:
    """Return what ``nn.Linear`` draws for a weight ``[out, in]`` and its bias; modules named ``keep`` start from it."""
    weights, biases = (tuple(f"{module}.{part}" for module in keep) for part in ("weight", "bias"))
    drawn = [Draw(f"{name}.weight", "uniform", shape, default_bound(shape[1]), keep=weights)]
    return drawn + ([Draw(f"{name}.bias", "uniform", shape[:1], 1 / math.sqrt(shape[1]), keep=biases)] if bias else [])


def of_clip(tensors: Mapping[str, Tensor], within: Mapping[str, Draw] | None = None) -> Iterator[Draw]:
    """Return the draws of building a CLIP with this state dict.

    ``within``: draws of a method's own variant of CLIP, by the name of the tensor that they follow.
    """
    rest = dict(within or {})
    for name, kind in (*_image_tower(tensors), *_text_tower(tensors), *_again(tensors)):
        yield Draw(name, kind, tuple(tensors[name].shape))
        if name in rest:
            yield rest.pop(name)
    if rest:
        raise ValueError(f"building this CLIP draws no {next(iter(rest))}")


def _image_tower(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    if "visual.proj" not in tensors:
        yield from ((name, "uniform") for name in tensors if name.startswith("visual.") and tensors[name].dim() == 4)
        yield "visual.attnpool.positional_embedding", "normal"
        for part in ("k_proj", "q_proj", "v_proj", "c_proj"):
            yield f"visual.attnpool.{part}.weight", "uniform"
            yield f"visual.attnpool.{part}.bias", "uniform"
        return
    yield "visual.conv1.weight", "uniform"
    yield "visual.class_embedding", "normal"
    yield "visual.positional_embedding", "normal"
    yield from _blocks(tensors, "visual.transformer.resblocks.")
    yield "visual.proj", "normal"


def _text_tower(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    yield from _blocks(tensors, "transformer.resblocks.")
    yield "token_embedding.weight", "normal"


def _blocks(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, str]]:
    # nn.MultiheadAttention makes its output's nn.Linear first, then fills the input's weight.
    parts = "attn.out_proj.weight attn.out_proj.bias attn.in_proj_weight"
    parts += " mlp.c_fc.weight mlp.c_fc.bias mlp.c_proj.weight mlp.c_proj.bias"
    for i in range(_depth(tensors, prefix)):
        yield from ((f"{prefix}{i}.{part}", "uniform") for part in parts.split())


def _again(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield what ``initialize_parameters`` draws again."""
    names = ["token_embedding.weight", "positional_embedding"]
    if "visual.proj" not in tensors:
        names += [f"visual.attnpool.{part}_proj.weight" for part in "qkvc"]
    for i in range(_depth(tensors, "transformer.resblocks.")):
        parts = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
        names += [f"transformer.resblocks.{i}.{part}" for part in parts]
    return ((name, "normal") for name in (*names, "text_projection"))


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(prefix) and name.endswith(".attn.in_proj_weight") for name in tensors)


def perform(draws: Iterable[Draw]) -> Iterator[tuple[Draw, Tensor]]:
    """Move torch's CPU generator as the draws do; gives those that are kept, with their values."""
    ahead = 0
    for draw in draws:
        if not draw.keep and (numbers := draw.numbers()):
            ahead += numbers
            continue
        advance(ahead)
        ahead = 0
        values = draw.values()
        if draw.keep:
            yield draw, values
    advance(ahead)


def advance(numbers: int) -> None:
    """Leave out so many numbers of 32 bits of torch's CPU generator."""
    if numbers > FAR:
        _leave_out(1)  # a jump starts from words that the generator has made, not from its seed's
        mersenne.jump((numbers - 1) // mersenne.WORDS)
        numbers = (numbers - 1) % mersenne.WORDS
    _leave_out(numbers)


def _leave_out(numbers: int) -> None:
    scratch = torch.empty(min(numbers, AT_ONCE), dtype=torch.int32)
    for left in range(numbers, 0, -AT_ONCE):
        scratch[:left].random_()
