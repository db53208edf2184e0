"""CoOp: Learning to Prompt for Vision-Language Models (Zhou, Yang, Loy and Liu, IJCV 2022).

M learned vectors take the place of the prompt's words; all of CLIP is frozen. Cross-entropy of the cosine logits, no
other term. With CTX_INIT words the vectors start as their embeddings, one per word, shared by all classes; without
words they are drawn, and shared or class-specific (CSC). There is no data set template.

As in the official code, except: the vectors stay float32 in every precision (under fp16 the official ones are half, and
at the warm-up's 1e-5 many of their steps round to nothing); random vectors are drawn in float32; words and CSC together
are refused (the official code then ignores CSC).

Shapes: B images, C classes, M vectors, d_t text width, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clip.draws import Draw
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.context import INIT_STD, Context, ContextPrompts, initial_vectors, is_class_buffer
from .shared.method import DualEncoder
from .shared.official_stream import a_clip, words_or
from .shared.seeds import Losses, cosine_losses

OTHER_CLASSES = (
    "class-specific contexts (TRAINER.COOP.CSC True) score the classes they were trained on and no others: train with "
    "TRAINER.COOP.CSC False"
)


class CoOpModel(DualEncoder):
    """The learned vectors ``ctx`` ``[M, d_t]``, or ``[C, M, d_t]`` with CSC; ``context`` says where they stand."""

    def __init__(self, clip_model: CLIP, classnames: list[str], context: Context):
        super().__init__(clip_model)
        self.classnames = list(classnames)
        self.prompts = ContextPrompts(clip_model, classnames, context)
        self.ctx = nn.Parameter(initial_vectors(clip_model, context, len(classnames)))

    def raw_class_features(self) -> Tensor:
        return self.prompts.raw_features(self.ctx)[0]

    @classmethod
    def joint_losses(cls, models: Sequence[Any], images: Tensor, labels: Sequence[Tensor]) -> Losses:
        """Return ``loss`` of S models, each of its images of ``[S, B, 3, H, W]`` and its labels ``[B]``."""
        return cosine_losses(models, *cls.joint_features(models, images), labels)

    @staticmethod
    def joint_features(models: Sequence[Any], images: Tensor) -> tuple[Tensor, Tensor]:
        """Return image features ``[S, B, d]`` and class features ``[S, C, d]`` of S models."""
        w = models[0].prompts.features(torch.stack([model.ctx for model in models]))
        return models[0].image_features(images.flatten(0, 1)).unflatten(0, images.shape[:2]), w

    def use_classes(self, seen: bool) -> None:
        """Raise ValueError where class-specific vectors would have to score other classes."""
        if not seen and self.prompts.context.per_class:
            raise ValueError(OTHER_CLASSES)

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Raise ValueError where class-specific vectors are of other classes."""
        if self.prompts.context.per_class and classnames is not None and list(classnames) != self.classnames:
            raise ValueError(OTHER_CLASSES)

    def ignores_checkpoint_key(self, key: str) -> bool:
        return is_class_buffer(key)


class ContextTrainer(CLIPTrainer):
    """Base of the trainers of the methods that take over CoOp's settings."""

    registered_name = "prompt_learner"
    shape_settings = ("CSC", "CLASS_TOKEN_POSITION")

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError naming the key whose value is not allowed, or does not fit another."""
        super().check_cfg(cfg)
        self.context_of(cfg)

    @classmethod
    def context_of(cls, cfg: Any) -> Context:
        """Return what is learned, and where. Raises ValueError naming the key whose value is not allowed."""
        settings = cls.settings_of(cfg)
        context = Context.of(settings.words, settings.n_ctx, settings.class_token_position, settings.csc)
        context.check_words(settings.path)
        return context

    @classmethod
    def draws_of_vectors(cls, cfg: Any, model: Any) -> list[Draw]:
        """Return what the public code draws for the vectors: nothing where they start from words."""
        return words_or(model, "ctx", cls.context_of(cfg).words, INIT_STD, cls.official_dtype(cfg))


@TRAINER_REGISTRY.register()
class CoOp(ContextTrainer):
    """Trainer of CoOp."""

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> CoOpModel:
        return CoOpModel(clip_model, classnames, cls.context_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the vectors where no words are given."""
        yield from (*a_clip(model), *cls.draws_of_vectors(cfg, model))
