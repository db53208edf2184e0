"""MetaPrompt: Learning Domain Invariant Prompt for Vision-Language Models (Zhao et al., TIP 2024).

Learned tokens in every layer of both towers. Prompted images meet frozen class features, frozen images prompted ones,
and never both prompted: with s = exp(logit_scale)

    logits_i = s F T0^T,    logits_t = s F0 T^T,    logits = (logits_i + logits_t) / 2,

and the last is what scores. A training step has two parts. In domain: CE(logits) + CE(logits_i) + CE(logits_t), one
update of all tokens. Across classes, for the text tokens theta alone: the classes are shuffled and halved; for each
half in turn, a real update on the other half (its images and classes, CE of logits_t), then there the gradient g_i on
this half, then theta back; at last theta -= lr META_STEP sum_i g_i. A half of less than two classes, or one side
without images in the batch, is skipped.

As in the official code: theta comes back only after the first half that is not skipped, as from then on the copy to
come back to is theta itself; RESTORE_AFTER_EACH_HALF mends it. The real updates share the optimiser's momentum with
the first part. T0 has the data set's prompt without full stop and with raw class names (eight prompts on ImageNet and
its variants), T "X X {}.". Image tokens of the first layer pass ``ln_pre``, others do not, and none has a positional
embedding; the text's first do. With LAYERS below the towers' depth the last outputs flow on. Image tokens rest in the
second part, as with torch 2 there. Learned tensors are float32 in every precision.

Shapes: B images, C classes, J = LAYERS, K tokens, d_t, d_v tower widths, d joint width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.draws import Draw
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.context import INIT_STD, clip_text_features, placeholders
from .shared.cosine import cosine_logits, l2_normalize
from .shared.deep_prompts import (
    DeepText,
    ImageStart,
    check_depth,
    check_vit,
    normal_init,
    register_parameter_at,
)
from .shared.method import IMAGE_FEATURE, Method
from .shared.official_stream import a_clip, normal
from .shared.templates import IMAGENET_ENSEMBLE, template_of

NODE = "TRAINER.META"
TEXT, VISION = "prompt_learner.ctx", "vision_prompt_learner.ctx"
# On ImageNet and its variants, without full stops.
IMAGENET_TEMPLATES = [*(template.removesuffix(".") for template in IMAGENET_ENSEMBLE), "a photo of a {}"]
FOOD = "a photo of a {}, a type of food"  # CoOp's has no article


class MetaPromptModel(Method):
    """The tokens ``prompt_learner.ctx`` ``[J, K, d_t]`` and ``vision_prompt_learner.ctx`` ``[J, K, d_v]``.

    K is ``n_ctx`` for texts and ``n_pro`` for images, J ``layers``; ``templates`` are of the frozen class features.
    """

    def __init__(
        self, clip_model: CLIP, classnames: list[str], templates: Sequence[str], n_ctx: int, n_pro: int, layers: int
    ):
        super().__init__(clip_model)
        visual = check_vit(clip_model, "Meta_B2N")
        shallower = min(visual.transformer.layers, clip_model.transformer.layers)
        check_depth(layers, shallower, f"{NODE}.LAYERS", "shallower")
        register_parameter_at(self, TEXT, normal_init(layers, n_ctx, clip_model.transformer.width))
        register_parameter_at(self, VISION, normal_init(layers, n_pro, visual.width))
        self.text = DeepText(clip_model, placeholders(n_ctx), classnames, n_ctx)
        texts = ([template.format(name) for name in classnames] for template in templates)
        each = [clip_text_features(clip_model, prompts) for prompts in texts]
        self.text_features_clip = l2_normalize(torch.stack(each).mean(dim=0))
        self.frozen_features: Tensor | None = None  # F0 of the last training batch, for the second part of its step

    @property
    def theta(self) -> nn.Parameter:
        """Return the text tokens."""
        return self.get_parameter(TEXT)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first part's loss, and the logits ``[B, C]``; ``frozen_features`` are kept for the second part."""
        terms, logits = self.terms(images, labels)
        return torch.stack(list(terms.values())).sum(), logits

    def terms(self, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the first part's terms, and the logits ``[B, C]``."""
        f, f_0 = self.image_features(images)
        self.frozen_features = f_0
        logits_i, logits_t = self.logits_of(f, f_0, self.text.features(self.theta.unbind()), self.text_features_clip)
        logits = (logits_i + logits_t) / 2
        found = {"mix": logits, "i": logits_i, "t": logits_t}
        return {name: F.cross_entropy(value, labels) for name, value in found.items()}, logits

    def class_loss(
        self, f_0: Tensor, labels: Sequence[int], classes: Sequence[int], theta: Tensor | None = None
    ) -> Tensor:
        """Return the cross-entropy of logits_t over some classes alone, for images' ``f_0`` ``[b, d]`` and labels."""
        theta = self.theta if theta is None else theta
        w = self.text.features(theta.unbind(), self.text.of(classes))
        places = {label: place for place, label in enumerate(classes)}
        targets = torch.tensor([places[label] for label in labels], device=f_0.device)
        return F.cross_entropy(cosine_logits(self.clip_model, f_0, w), targets)

    def class_features(self) -> tuple[Tensor, Tensor]:
        """Return T and T0 ``[C, d]``, of unit length."""
        return self.text.features(self.theta.unbind()), self.text_features_clip

    def image_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return F and F0 ``[B, d]``, of unit length."""
        start = ImageStart(self.clip_model.visual, images)
        return start.feature(self.get_parameter(VISION).unbind()), start.frozen_feature()

    def scores(self, images: Tensor, class_features: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean of logits_i and logits_t, ``[B, C]``."""
        return torch.stack(self.logits_of(*self.image_features(images), *class_features)).mean(dim=0)

    def named_image_features(self, images: Tensor) -> dict[str, Tensor]:
        return {IMAGE_FEATURE: l2_normalize(self.image_features(images)[0])}

    def one_feature_per_class(self, class_features: tuple[Tensor, Tensor]) -> Tensor:
        return l2_normalize(class_features[0])

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Return True for CLIP's tensors, which official checkpoints hold several times, under different prefixes."""
        parts = key.split(".")
        return any(".".join(parts[i:]) in self._frozen_keys for i in range(len(parts)))

    @cached_property
    def _frozen_keys(self) -> set[str]:
        return {*self.clip_model.state_dict(), *self.clip_model.visual.state_dict()}

    def logits_of(self, f: Tensor, f_0: Tensor, w: Tensor, w_0: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits_i and logits_t."""
        return cosine_logits(self.clip_model, f, w_0), cosine_logits(self.clip_model, f_0, w)


def halves_of(order: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return (this half, the other) for both halves of the classes; of an odd number the first has one more."""
    middle = math.ceil(len(order) / 2)
    first, second = list(order[:middle]), list(order[middle:])
    return [(first, second), (second, first)]


def across_classes(
    model: MetaPromptModel,
    labels: Sequence[int],
    order: Sequence[int],
    update: Callable[[Tensor], None],
    gradient: Callable[[Tensor], Tensor],
    rate: float,
    restore_each: bool,
) -> list[tuple[Tensor, Tensor]]:
    """Do the second part of a step, on the batch that ``model`` saw last.

    ``order`` is that of the classes, ``update`` takes a real step on a loss, ``gradient`` gives a loss's gradient with
    respect to theta, ``rate`` is lr META_STEP. Returns (inner, outer) losses of the halves that were not skipped.
    """
    f_0, theta = model.frozen_features, model.theta
    assert f_0 is not None
    before, total = theta.detach().clone(), torch.zeros_like(theta)
    losses: list[tuple[Tensor, Tensor]] = []
    for classes, others in halves_of(order):
        mine, theirs = ([i for i, label in enumerate(labels) if label in side] for side in (classes, others))
        if len(classes) < 2 or not mine or not theirs:
            continue
        inner = model.class_loss(f_0[theirs], [labels[i] for i in theirs], others)
        update(inner)
        outer = model.class_loss(f_0[mine], [labels[i] for i in mine], classes)
        total += gradient(outer)
        if restore_each or not losses:
            theta.data.copy_(before)
        losses.append((inner.detach(), outer.detach()))
    theta.data.sub_(rate * total)
    return losses


@TRAINER_REGISTRY.register()
class Meta_B2N(CLIPTrainer):  # noqa: N801 (the official name)
    """Trainer of MetaPrompt, which is an alias of its name."""

    registered_name = "model"
    shape_settings = ("N_CTX", "N_PRO", "LAYERS")
    not_graphed = "the second part of a step takes what the batch has of each half of the classes"

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MetaPromptModel:
        settings = cls.settings_of(cfg)
        numbers = settings.n_ctx, settings.n_pro, settings.layers
        return MetaPromptModel(clip_model, classnames, cls.templates(cfg), *numbers)

    @classmethod
    def templates(cls, cfg: Any) -> list[str]:
        """Return the templates of the frozen class features: DATASET.TEMPLATE, or the official ones of the data set."""
        if cfg.DATASET.TEMPLATE:
            return [template_of(cfg)]
        if "ImageNet" in cfg.DATASET.NAME:
            return IMAGENET_TEMPLATES
        return [FOOD] if cfg.DATASET.NAME == "Food101" else [template_of(cfg).removesuffix(".")]

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the tokens of the text; those of images."""
        low = cls.official_dtype(cfg)
        yield from (*a_clip(model), *(normal(model, name, INIT_STD, low) for name in (TEXT, VISION)))

    def after_update(self, labels: Tensor) -> None:
        """Do the second part of the step."""
        order = list(range(len(self.model.text_features_clip)))
        random.shuffle(order)
        rate = self.get_current_lr() * self.settings.meta_step
        with self.autocast():
            restore = self.settings.restore_after_each_half
            across_classes(self.model, labels.tolist(), order, self._update, self._gradient, rate, restore)

    def _update(self, loss: Tensor) -> None:
        self.optim.zero_grad()
        if self.scaler is None:
            loss.backward()
            self.optim.step()
            return
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optim)
        self.scaler.update()

    def _gradient(self, loss: Tensor) -> Tensor:
        if self.scaler is None:
            return torch.autograd.grad(loss, self.model.theta)[0]
        (scaled,) = torch.autograd.grad(self.scaler.scale(loss), self.model.theta)
        found = scaled / self.scaler.get_scale()
        return torch.where(found.isfinite().all(), found, torch.zeros_like(found))  # as the scaler skips a step
