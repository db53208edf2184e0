"""What every plain reference has: its equations as a loss and as scores, from the learned tensors by name.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clip import tokenize
from trainers.shared.templates import fill

from .clip import PlainCLIP

Learned = dict[str, Tensor]
Weights = dict[str, Tensor]


class Plain:
    """A method's equations over CLIP's state dict, on the device and in the dtype of that.

    A subclass has ``class_features``, and overrides what differs from CLIP's scores and the mean cross-entropy.
    """

    def __init__(self, weights: Weights, **how: Any):
        self.clip, self.scale = PlainCLIP(weights, **how), weights["logit_scale"].exp()

    def image_features(self, learned: Learned, images: Tensor) -> Any:
        """Return unit image features [B, d]: frozen CLIP's."""
        with torch.no_grad():
            return self.clip.image_feature(images)

    def class_features(self, learned: Learned) -> Any:
        """Return what evaluation needs of the classes, such as unit features [C, d]."""
        raise NotImplementedError

    def scores(self, learned: Learned, images: Tensor, class_features: Any, seen: bool = True) -> Tensor:
        """Return evaluation scores [B, C]; ``seen``: whether the classes are those trained on."""
        return self.scale * self.image_features(learned, images) @ class_features.t()

    def probabilities(self, scores: Tensor, seen: bool = True) -> Tensor:
        """Return evaluation scores [B, C] as class probabilities [B, C]."""
        return scores.softmax(dim=-1)

    def logits(self, learned: Learned, images: Tensor) -> Tensor:
        """Return the scores [B, C] of the classes trained on."""
        return self.scores(learned, images, self.class_features(learned))

    def training_scores(self, learned: Learned, images: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        """Return the scores [B, C] that a training step gives beside its loss: those of evaluation, ``scores``."""
        return scores

    def loss(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(self.logits(learned, images), labels)

    def step(self, learned: Learned, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a benchmark's training step."""
        return self.loss(learned, images, labels)


class PlainFrozenText(Plain):
    """Equations whose class features are frozen CLIP's, the mean of several templates; the text is encoded once.

    ``templates`` holds the token ids ``[C, 77]`` of each template.
    """

    def __init__(self, weights: Weights, templates: list[Tensor]):
        super().__init__(weights)
        with torch.no_grad():
            each = torch.stack([self.clip.text_feature(tokens) for tokens in templates])
            self.text = F.normalize(each.mean(dim=0), dim=-1)

    def class_features(self, learned: Learned) -> Tensor:
        """Return the frozen class features [C, d]."""
        return self.text


def token_ids(weights: Weights, template: str, names: list[str], spoken: bool = True) -> Tensor:
    """Return token ids [C, 77] on the weights' device; spoken names have spaces for underscores."""
    texts = fill(template, names) if spoken else [template.format(name) for name in names]
    return tokenize(texts).long().to(weights["text_projection"].device)


def mean_raw_text(clip: PlainCLIP, weights: Weights, names: list[str], templates: list[str]) -> Tensor:
    """Return the mean [C, d] of the templates' text features, none normalised; names keep their underscores."""
    texts = [token_ids(weights, template, names, spoken=False) for template in templates]
    with torch.no_grad():
        return torch.stack([clip.raw_text_feature(tokens) for tokens in texts]).mean(dim=0)


def name_lengths(names: list[str]) -> list[int]:
    """Return the names' numbers of tokens."""
    return (tokenize(fill("{}", names)).argmax(dim=1) - 1).tolist()


def depths(weights: Weights) -> tuple[int, int]:
    """Return the numbers of layers of the image tower and the text tower."""
    counts = (
        {name.removeprefix(start).split(".")[0] for name in weights if name.startswith(start)}
        for start in ("visual.transformer.resblocks.", "transformer.resblocks.")
    )
    vision, text = map(len, counts)
    return vision, text
