"""ProVP-Ref and its plain reference, with ViT-B/16's settings.

Class features are frozen, so neither side's step has them.
"""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import TEMPLATE, ours_of, token_ids
from benchmarks.sides.maple import plain_of
from clip.model import CLIP
from tests.reference.plain_provp import PlainProVP
from trainers.provp import ProVPModel
from trainers.shared.templates import fill

TOKENS = 16


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model: 16 tokens per layer."""
    return ours_of(ProVPModel(clip_model, fill(TEMPLATE, names), TOKENS))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    reference, dtype = PlainProVP(weights, token_ids(weights, TEMPLATE, names)), weights["text_projection"].dtype
    return plain_of(reference, learned, dtype)
