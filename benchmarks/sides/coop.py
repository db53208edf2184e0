"""CoOp and its plain reference: ViT-B/16's settings, and the start of the sides of all who learn a context."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmarks.sides import Learned, Side
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_coop import PlainCoOp
from trainers.coop import CoOpModel
from trainers.shared.context import Context
from trainers.shared.method import Method

PHRASE = "a photo of a"
TEMPLATE = f"{PHRASE} {{}}."
CONTEXT = Context.of(PHRASE, 4)


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model over "a photo of a"."""
    return ours_of(CoOpModel(clip_model, names, CONTEXT))


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    return plain_of(PlainCoOp(weights, token_ids(weights, TEMPLATE, names), name_lengths(names)), learned)


def ours_of(model: Method) -> Side:
    """A model's side; what scores is the same for all classes."""
    model.to(model.clip_model.positional_embedding.device)

    def scores(images: Tensor, class_features: Any, both: bool) -> Tensor:
        return model.scores(images, class_features).softmax(dim=-1)

    learned: Learned = dict(model.named_parameters())
    return Side(learned, lambda images, labels: model.loss(images, labels)[0], model.class_features, scores)


def plain_of(reference: PlainCoOp, learned: Learned) -> Side:
    """A reference's side, in the dtype of its weights."""
    dtype = reference.clip.weights["text_projection"].dtype

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        f = reference.clip.image_feature(images.to(dtype))
        return (reference.scale * f @ class_features.t()).float().softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(dtype), labels),
        lambda: reference.text_features(cast()["ctx"]),
        scores,
    )


def token_ids(weights: dict[str, Tensor], template: str, names: list[str]) -> Tensor:
    """Token ids ``[C, 77]`` on the weights' device."""
    return tokenize([template.format(name) for name in names]).long().to(weights["text_projection"].device)


def name_lengths(names: list[str]) -> list[int]:
    """Of the names, in tokens."""
    return (tokenize(names).argmax(dim=1) - 1).tolist()
