"""ProDA and its plain reference, with four prompts in the step: name in front, in the middle, and twice at the end."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from benchmarks.sides.coop import ours_of
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_proda import PlainProDA
from trainers.proda import ProDAModel
from trainers.shared.context import placeholders, token_counts
from trainers.shared.templates import fill

PROMPTS, N_CTX, APART = 32, 16, 0.1
CHOSEN = [0, 8, 16, 24]


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model."""
    model = ProDAModel(clip_model, names, PROMPTS, N_CTX, len(CHOSEN), APART)
    model.chosen = CHOSEN
    return ours_of(model)


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    projection = weights["text_projection"]
    device, dtype = projection.device, projection.dtype
    words = placeholders(N_CTX)
    tokens, nameless = (tokenize(fill(f"{words} {{}}.", texts)).long().to(device) for texts in (names, [""]))
    reference = PlainProDA(weights, tokens, token_counts(fill("{}", names)), nameless, APART)
    return Side(
        learned,
        lambda images, labels: reference.loss(learned["ctx"].to(dtype), CHOSEN, images.to(dtype), labels),
        lambda: reference.class_features(learned["ctx"].to(dtype)),
        lambda images, features, both: reference.logits(images.to(dtype), features).float().softmax(dim=-1),
    )
