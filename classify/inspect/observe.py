"""One test of a run, watched: predictions, and the features of images and classes beside frozen CLIP's.

Shapes: N images, B of them at a time, C classes, d joint width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dassl.data.data_manager import build_data_loader
from trainers.plugins import title
from trainers.shared.base import CPU_PASS
from trainers.shared.cosine import l2_normalize
from trainers.shared.features import template_features
from trainers.shared.method import IMAGE_FEATURE
from trainers.shared.templates import template_of

FROZEN = "frozen CLIP"
ALPHAS = [i / 20 for i in range(21)]


@dataclass
class Observed:
    """What a test showed.

    Attributes:
        paths: images, in the order of all lists below.
        true, predicted, zero_shot: labels ``[N]``, indices into ``classes``; the last as frozen CLIP has it with the
            data set's template.
        images: unit features ``[N, d]`` by what they are, the method's own (if it has any) before ``FROZEN``.
        own_classes, frozen_classes: unit features ``[C, d]``; the first None where the method has no such thing.
        alpha_hits: correct images at each of ``ALPHAS``; empty where there is no alpha to change.
        alpha: what the run's own scores amount to: its alpha where both features score, 1 where the class feature alone
            does (new classes); None where there is no alpha.
        probabilities: of the classes, ``[N, C]``.
        notes: what does not apply, a line each, by what it is: images, classes, alpha, gain.
    """

    classes: list[str]
    paths: list[str]
    true: list[int]
    predicted: list[int]
    zero_shot: list[int]
    images: dict[str, Tensor]
    own_classes: Tensor | None
    frozen_classes: Tensor
    alpha_hits: list[int]
    alpha: float | None
    probabilities: Tensor
    notes: dict[str, str]

    def most_wrong(self, labels: Iterable[int], most: int) -> list[int]:
        """Return at most this many of the classes, those with the most errors, by label."""
        errors = Counter(t for t, p in zip(self.true, self.predicted, strict=True) if t != p)
        return sorted(sorted(labels, key=lambda label: (-errors[label], label))[:most])


def observe(trainer: Any, items: Sequence[Any]) -> Observed:
    """Test ``trainer`` on ``items`` (Datum) as ``trainer.test`` does, and look at each batch again. Shows a bar."""
    cfg = trainer.cfg
    trainer.test_loader = build_data_loader(
        cfg, data_source=items, batch_size=cfg.DATALOADER.TEST.BATCH_SIZE, tfm=trainer.dm.tfm_test, is_train=False
    )
    watch = _Watch(trainer)
    trainer.model_inference = watch.look
    trainer.test("test")
    return watch.result(list(trainer.dm.dataset.classnames), [item.impath for item in items])


class _Watch:
    """Stands in a trainer's ``model_inference`` during one test."""

    def __init__(self, trainer: Any):
        self.trainer, self.method, self.score = trainer, trainer.model, trainer.model_inference
        self.name = title(trainer.cfg)
        self.names = {IMAGE_FEATURE: self.name}
        self.parts: dict[str, list[Tensor]] = {}
        self.probabilities: list[Tensor] = []
        self.at_alphas: list[Tensor] = []  # predictions [B, len(ALPHAS)]
        self.frozen_classes: Tensor | None = None

    def look(self, images: Tensor) -> Tensor:
        """Return the scores ``[B, C]``, as without a watch."""
        scores = self.score(images)
        self.probabilities.append(self.method.probabilities(scores).float().cpu())
        at_once = CPU_PASS if images.device.type == "cpu" else len(images)
        with self.trainer.autocast():
            for part in images.split(at_once):
                features = self.features(part)
                if self.method.weight_of_class_feature() is not None:
                    scored = self.method.scores_at(ALPHAS, features, self.trainer.class_features)
                    self.at_alphas.append(torch.stack([some.argmax(dim=1) for some in scored], dim=1).cpu())
                for name, values in features.items():
                    self.parts.setdefault(name, []).append(values.cpu())
        return scores

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return unit features ``[B, d]`` of images by what they are, the method's own first."""
        own = {self.names.get(name, name): found for name, found in self.method.named_image_features(images).items()}
        return own | {FROZEN: l2_normalize(self.method.clip_model.encode_image(images))}

    def result(self, classes: list[str], paths: list[str]) -> Observed:
        """Return what was seen, once the test is over."""
        evaluator, method = self.trainer.evaluator, self.method
        with torch.no_grad(), self.trainer.autocast():
            frozen = template_features(method.clip_model, classes, [template_of(self.trainer.cfg)]).cpu()
            own = method.one_feature_per_class(method.class_features())
        images = {name: torch.cat(parts) for name, parts in self.parts.items()}
        notes: dict[str, str] = {}
        if self.name in images and torch.allclose(images[self.name], images[FROZEN], atol=1e-5):
            del images[self.name]
        if len(images) == 1:
            notes["images"] = f"{self.name} takes images as frozen CLIP sees them: there is no cosine to show"
        if own is None:
            notes["classes"] = f"{self.name} has no one feature per class to compare with frozen CLIP's"
        hits: list[int] = []
        alpha = None
        if self.at_alphas:
            true = torch.tensor(evaluator._y_true)[:, None]
            hits = (torch.cat(self.at_alphas) == true).sum(dim=0).tolist()
            alpha = method.weight_of_class_feature()
        else:
            notes["alpha"] = f"{self.name} has no representation feature, so no alpha to change"
        zero_shot = (images[FROZEN] @ frozen.t()).argmax(dim=1).tolist()
        if zero_shot == evaluator._y_pred:
            notes["gain"] = "every prediction is that of zero-shot CLIP: there is no gain to show"
        own = None if own is None else own.cpu()
        labels = (list(evaluator._y_true), list(evaluator._y_pred), zero_shot)
        probabilities = torch.cat(self.probabilities)
        return Observed(classes, paths, *labels, images, own, frozen, hits, alpha, probabilities, notes)
