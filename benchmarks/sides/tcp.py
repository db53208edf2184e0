"""TCP and its plain reference."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import TEMPLATE, ours_of, token_ids
from benchmarks.sides.mma import plain_of
from clip.model import CLIP
from tests.reference.plain_tcp import PlainTCP
from trainers.shared.templates import fill
from trainers.tcp import TCPModel

LEARNED = "X X X X {}."


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model with ImageNet's template."""
    return ours_of(TCPModel(clip_model, fill(TEMPLATE, names), fill(LEARNED, names)))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("transformer.resblocks."))
    prior, tokens = (token_ids(weights, template, names) for template in (TEMPLATE, LEARNED))
    reference = PlainTCP(weights, tokens, prior, 2 * layers // 3)
    return plain_of(reference, learned, weights["text_projection"].dtype)
