"""PromptSRC and its plain reference, with ViT-B/16's settings.

Neither side's step computes the text teacher's features: both have them from the start, as the official code does.
"""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import TEMPLATE, ours_of, token_ids
from benchmarks.sides.maple import depth_of, plain_of
from clip.model import CLIP, build_model
from tests.reference.plain_promptsrc import PlainPromptSRC
from trainers.promptsrc import PromptSRCModel
from trainers.settings import PromptSRCSettings


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model: 4 tokens in each of 9 layers of each tower."""
    model = _model(clip_model, names)
    model.teacher()
    return ours_of(model)


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    dtype = weights["text_projection"].dtype
    teacher = _model(build_model(weights, dtype).to(weights["text_projection"].device), names).teacher()
    reference = PlainPromptSRC(weights, token_ids(weights, TEMPLATE, names), teacher.to(dtype))
    return plain_of(reference, learned, dtype)


def _model(clip_model: CLIP, names: list[str]) -> PromptSRCModel:
    depth = depth_of(clip_model.transformer.layers)
    return PromptSRCModel(clip_model, names, PromptSRCSettings(prompt_depth_vision=depth, prompt_depth_text=depth))
