"""One test of a run, watched: predictions, and the features of images and classes beside frozen CLIP's.

Shapes: N images, B of them at a time, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dassl.data.data_manager import build_data_loader
from trainers.mmrl import MMRLModel
from trainers.plot import PLOTModel
from trainers.plot.transport import FeatureSet
from trainers.shared.base import CPU_PASS, l2_normalize
from trainers.shared.features import template_features
from trainers.shared.templates import template_of

FROZEN = "frozen CLIP"
CLASS, REPRESENTATION = "class feature f_c", "representation feature f_r"
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
    notes: dict[str, str]


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
        self.name = trainer.cfg.TRAINER.NAME
        self.parts: dict[str, list[Tensor]] = {}
        self.at_alphas: list[Tensor] = []  # predictions [B, len(ALPHAS)]
        self.frozen_classes: Tensor | None = None

    def look(self, images: Tensor) -> Tensor:
        """Scores ``[B, C]``, as without a watch."""
        scores = self.score(images)
        at_once = CPU_PASS if images.device.type == "cpu" else len(images)
        with self.trainer.autocast():
            for part in images.split(at_once):
                features = self.features(part)
                if REPRESENTATION in features:
                    self.at_alphas.append(self.sweep(features))
                for name, values in features.items():
                    self.parts.setdefault(name, []).append(values.cpu())
        return scores

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Unit features ``[B, d]`` of images by what they are, the method's own first."""
        own: dict[str, Tensor | None]
        if isinstance(self.method, MMRLModel):
            own = dict(zip((CLASS, REPRESENTATION), self.method.image_features(images), strict=True))
        else:
            own = {self.name: own_image_features(self.method, images)}
        found = own | {FROZEN: l2_normalize(self.method.clip_model.encode_image(images))}
        return {name: values for name, values in found.items() if values is not None}

    def sweep(self, features: dict[str, Tensor]) -> Tensor:
        """Predictions ``[B, len(ALPHAS)]``."""
        logits = self.method.logits_of(features[CLASS], features[REPRESENTATION], self.class_features)
        return torch.stack([self.method.fuse(*logits, alpha).argmax(dim=1) for alpha in ALPHAS], dim=1).cpu()

    @property
    def class_features(self) -> Any:
        """Those of the test at hand."""
        return self.trainer._class_features

    def result(self, classes: list[str], paths: list[str]) -> Observed:
        """What was seen, once the test is over."""
        evaluator, method = self.trainer.evaluator, self.method
        with torch.no_grad(), self.trainer.autocast():
            frozen = template_features(method.clip_model, classes, [template_of(self.trainer.cfg)]).cpu()
            own = own_class_features(method.class_features(), tuple(frozen.shape))
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
            alpha = method.settings.alpha if method.both else 1.0
        else:
            notes["alpha"] = f"{self.name} has no representation feature, so no alpha to change"
        zero_shot = (images[FROZEN] @ frozen.t()).argmax(dim=1).tolist()
        if zero_shot == evaluator._y_pred:
            notes["gain"] = "every prediction is that of zero-shot CLIP: there is no gain to show"
        labels = (list(evaluator._y_true), list(evaluator._y_pred), zero_shot)
        return Observed(classes, paths, *labels, images, own, frozen, hits, alpha, notes)


def own_image_features(method: Any, images: Tensor) -> Tensor | None:
    """What a method makes of images, unit ``[B, d]``, or None where it takes frozen CLIP's feature.

    A method's ``image_features`` gives it, or a tuple that begins with it, or ``[B, K, d]``, of which the mean is
    taken; ``adapted``, where there is one, comes after it. PLOT's ``image`` has its views' mean.
    """
    if isinstance(method, PLOTModel):
        return method.image(images).mean
    if not hasattr(method, "image_features"):
        return None
    value = method.image_features(images)
    value = value[0] if isinstance(value, tuple) else value
    value = method.adapted(value) if hasattr(method, "adapted") else value
    return l2_normalize(value.mean(dim=1) if value.dim() == 3 else value)


def own_class_features(value: Any, shape: tuple[int, ...]) -> Tensor | None:
    """A method's class features as unit ``[C, d]``, or None where it has none of this shape.

    ``[C, K, d]`` are averaged; of a tuple the first counts, of PLOT's the prompts' mean.
    """
    if isinstance(value, FeatureSet):
        value = value.mean
    value = value[0] if isinstance(value, tuple) else value
    if not isinstance(value, Tensor):
        return None
    value = value.mean(dim=1) if value.dim() == 3 else value
    return l2_normalize(value).cpu() if value.shape == shape else None
