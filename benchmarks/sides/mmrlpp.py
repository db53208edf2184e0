"""MMRL++ and its plain reference."""

from __future__ import annotations

from torch import Tensor

from benchmarks.sides import Learned, Side
from clip import tokenize
from clip.model import CLIP
from tests.reference.plain_mmrlpp import PlainMMRLpp
from trainers.mmrlpp import MMRLppModel
from trainers.settings import MMRLppSettings
from trainers.shared.templates import TEMPLATES, fill

TEMPLATE = TEMPLATES["ImageNet"]


def _settings(layers: int) -> MMRLppSettings:
    """The release's: J = 6 of 12 layers."""
    rep_layers = tuple(range(layers // 2, layers + 1))
    return MMRLppSettings(0.7, 0.2, rep_layers, 512, 5, "logits", beta=0.9, res_lora_dim=4, proj_lora_dim=64)


def ours(clip_model: CLIP, names: list[str]) -> Side:
    """The trainer's model with ImageNet's template."""
    model = MMRLppModel(clip_model, fill(TEMPLATE, names), _settings(clip_model.transformer.layers))
    model.to(clip_model.positional_embedding.device)

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        model.both = both
        return model.scores(images, class_features).softmax(dim=-1)

    learned: Learned = dict(model.named_parameters())
    return Side(learned, lambda images, labels: model.loss(images, labels)[0], model.class_features, scores)


def plain(weights: dict[str, Tensor], names: list[str], learned: Learned) -> Side:
    """The equations, on the device and in the dtype of ``weights``."""
    layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("transformer.resblocks."))
    settings, like = _settings(layers), weights["text_projection"]
    tokens = tokenize(fill(TEMPLATE, names)).long().to(like.device)
    numbers = (settings.rep_layers[0], settings.alpha, settings.reg_weight)
    reference = PlainMMRLpp(weights, tokens, *numbers, beta=settings.beta)

    def cast() -> Learned:
        return {name: value.to(like.dtype) for name, value in learned.items()}

    def scores(images: Tensor, class_features: Tensor, both: bool) -> Tensor:
        f_c, f_r = reference.image_features(cast(), images.to(like.dtype))
        of_class, of_rep = ((100 * f @ class_features.t()).float() for f in (f_c, f_r))
        fused = settings.alpha * of_class + (1 - settings.alpha) * of_rep
        return (fused if both else of_class).softmax(dim=-1)

    return Side(
        learned,
        lambda images, labels: reference.loss(cast(), images.to(like.dtype), labels),
        lambda: reference.text_features(cast()),
        scores,
    )
