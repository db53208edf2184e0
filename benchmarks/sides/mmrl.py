"""MMRL and its plain reference."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_mmrl import PlainMMRL
from trainers.mmrl import MMRLModel
from trainers.settings import MMRLSettings
from trainers.shared.templates import TEMPLATES, fill

TEMPLATE = TEMPLATES["ImageNet"]


def _settings(layers: int) -> MMRLSettings:
    """The paper's: J = 6 of 12 layers."""
    return MMRLSettings(0.7, 0.5, tuple(range(layers // 2, layers + 1)), 512, 5)


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model with ImageNet's template."""
    model = MMRLModel(clip_model, fill(TEMPLATE, names), _settings(clip_model.transformer.layers))
    model.to(clip_model.positional_embedding.device)

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        model.both = both
        found = model.scores(images, class_features)
        return found if both else found.softmax(dim=-1)

    learned: Learned = dict(model.named_parameters())
    return Side(learned, lambda images, labels: model.loss(images, labels)[0], model.class_features, scores)


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("transformer.resblocks."))
    settings = _settings(layers)
    device = weights["text_projection"].device
    reference = PlainMMRL(
        weights,
        tokenize(fill(TEMPLATE, names)).long().to(device),
        settings.rep_layers[0],
        settings.alpha,
        settings.reg_weight,
    )
    dtype = weights["text_projection"].dtype

    def cast() -> Learned:
        return {name: value.to(dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        f_c, f_r = reference.image_features(cast(), images.to(dtype))
        of_class, of_rep = ((100 * f @ class_features.t()).float().softmax(dim=-1) for f in (f_c, f_r))
        return settings.alpha * of_class + (1 - settings.alpha) * of_rep if both else of_class

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(dtype), labels),
        lambda: reference.text_features(cast()),
        scores,
    )
