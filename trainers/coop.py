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

import torch.nn.functional as F
from torch import Tensor, nn

from clip.draws import Draw
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer, Method
from .shared.context import (
    INIT_STD,
    Context,
    ContextPrompts,
    clip_image_features,
    cosine_logits,
    initial_vectors,
    is_class_buffer,
)
from .shared.official_stream import a_clip, words_or

OTHER_CLASSES = (
    "class-specific contexts (TRAINER.COOP.CSC True) score the classes they were trained on and no others: train with "
    "TRAINER.COOP.CSC False"
)


class CoOpModel(Method):
    """The learned vectors ``ctx`` ``[M, d_t]``, or ``[C, M, d_t]`` with CSC.

    Args:
        clip_model: frozen CLIP.
        classnames: C names.
        context: what is learned, and where.
    """

    def __init__(self, clip_model: CLIP, classnames: list[str], context: Context):
        super().__init__(clip_model)
        self.classnames = list(classnames)
        self.prompts = ContextPrompts(clip_model, classnames, context)
        self.ctx = nn.Parameter(initial_vectors(clip_model, context, len(classnames)))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy, and the logits ``[B, C]``."""
        return self.cross_entropy(images, labels, self.class_features())

    def cross_entropy(self, images: Tensor, labels: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy with unit class features ``[C, d]``, and the logits ``[B, C]``."""
        logits = self.scores(images, w)
        return F.cross_entropy(logits, labels), logits

    def class_features(self) -> Tensor:
        """w ``[C, d]``, of unit length."""
        return self.prompts.features(self.ctx)[0]

    def scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """exp(logit_scale) f w^T, ``[B, C]``."""
        return cosine_logits(self.clip_model, clip_image_features(self.clip_model, images), class_features)

    def use_classes(self, seen: bool) -> None:
        """Raises ValueError where class-specific vectors would have to score other classes."""
        if not seen and self.prompts.context.per_class:
            raise ValueError(OTHER_CLASSES)

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Raises ValueError where class-specific vectors are of other classes."""
        if self.prompts.context.per_class and classnames is not None and list(classnames) != self.classnames:
            raise ValueError(OTHER_CLASSES)

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Official checkpoints hold the embeddings around the context."""
        return is_class_buffer(key)


class ContextTrainer(CLIPTrainer):
    """Base of the trainers whose settings are ``TRAINER.COOP``; a subclass has a ``build_method``."""

    registered_name = "prompt_learner"
    shape_settings = ("CSC", "CLASS_TOKEN_POSITION")

    def check_cfg(self, cfg: Any) -> None:
        """Raises ValueError naming the key that is out of range."""
        self.context_of(cfg)
        super().check_cfg(cfg)

    @classmethod
    def unread(cls, cfg: Any) -> str:
        """N_CTX, where words decide on the number of vectors."""
        return cls.context_of(cfg).unread("TRAINER.COOP", int(cfg.TRAINER.COOP.N_CTX))

    @classmethod
    def context_of(cls, cfg: Any) -> Context:
        """What is learned, and where. Raises ValueError naming the key that is out of range."""
        raise NotImplementedError


def context_of(node: Any, words: str) -> Context:
    """From ``cfg.TRAINER.COOP`` and the words to start from. Raises ValueError naming the key that is out of range."""
    context = Context.of(words, int(node.N_CTX), str(node.CLASS_TOKEN_POSITION), bool(node.CSC))
    context.check("TRAINER.COOP")
    return context


def switch_of(node: Any) -> bool:
    """CTX_INIT where it is a switch. Raises ValueError for anything else."""
    switch = node.CTX_INIT or False
    if not isinstance(switch, bool):
        raise ValueError(f"TRAINER.COOP.CTX_INIT must be True (start from words) or False (draw), not {switch!r}")
    return switch


@TRAINER_REGISTRY.register()
class CoOp(ContextTrainer):
    """Trainer of CoOp."""

    @classmethod
    def context_of(cls, cfg: Any) -> Context:
        """Of CTX_INIT's words, or N_CTX vectors. Raises ValueError naming the key that is out of range."""
        words = cfg.TRAINER.COOP.CTX_INIT or ""
        if not isinstance(words, str):
            raise ValueError(
                f"TRAINER.COOP.CTX_INIT must be words, such as 'a photo of a', or '' for random vectors, not {words!r}"
            )
        return context_of(cfg.TRAINER.COOP, words)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> CoOpModel:
        """The model over these classes."""
        return CoOpModel(clip_model, classnames, cls.context_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """A CLIP; the vectors where no words are given."""
        yield from a_clip(model)
        yield from words_or(model, "ctx", cls.context_of(cfg).words, INIT_STD, cls.official_dtype(cfg))
