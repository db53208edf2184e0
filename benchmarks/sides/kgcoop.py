"""KgCoOp and its plain reference."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import CONTEXT, TEMPLATE, name_lengths, ours_of, plain_of, token_ids
from clip.model import CLIP
from tests.reference.plain_coop import PlainKgCoOp
from trainers.kgcoop import KgCoOpModel

WEIGHT = 8.0


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model over "a photo of a"."""
    return ours_of(KgCoOpModel(clip_model, names, CONTEXT, TEMPLATE, WEIGHT))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    tokens = token_ids(weights, TEMPLATE, names)
    return plain_of(PlainKgCoOp(weights, tokens, name_lengths(names), tokens, WEIGHT), learned)
