"""ProGrad and its plain reference, which takes two gradients in turn as the official code does."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import PHRASE, TEMPLATE, name_lengths, ours_of, plain_of, token_ids
from clip.model import CLIP
from tests.reference.plain_coop import PlainProGrad
from trainers.prograd import ProGradModel
from trainers.shared.context import Context, placeholders

N_CTX = 16
TEXT = f"{placeholders(N_CTX - 4)} {PHRASE}"
CONTEXT = replace(Context.of("", N_CTX), text=TEXT, words=PHRASE)


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model over 16 vectors."""
    return ours_of(ProGradModel(clip_model, names, CONTEXT, TEMPLATE))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    tokens, template = (token_ids(weights, text, names) for text in (f"{TEXT} {{}}.", TEMPLATE))
    return plain_of(PlainProGrad(weights, tokens, name_lengths(names), template), learned)
