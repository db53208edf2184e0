"""CoCoOp: Conditional Prompt Learning for Vision-Language Models (Zhou, Yang, Loy and Liu, CVPR 2022).

Beside CoOp's M vectors a small network maps the unit image feature to one shift that is added to all of them: every
image has its own prompts, so text features cannot be kept, and an image costs a pass over all classes. Here that pass
is over what follows the context only, in all images' versions of the prompts at once.

As in the official code: the class name at the end, no class-specific vectors, no data set template, cross-entropy
alone. All learned tensors stay float32 (half in the official fp16). Batch 1 belongs to the recipe.

Shapes: B images, C classes, M vectors, d_t text width, d joint width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.draws import Draw
from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.context import INIT_STD, Context, ContextPrompts, initial_vectors, is_class_buffer
from .shared.cosine import clip_image_features, cosine_logits
from .shared.method import Method
from .shared.official_stream import a_clip, one_linear, words_or

BOTTLENECK = 16  # of the joint width: the meta-net's hidden one
TOKENS_AT_ONCE = 1 << 15  # in evaluation, over all images' versions of the prompts


class CoCoOpModel(Method):
    """The vectors ``ctx`` ``[M, d_t]``, before the name, and the network ``meta_net``, d to d / 16 to d_t."""

    def __init__(self, clip_model: CLIP, classnames: list[str], context: Context):
        super().__init__(clip_model)
        self.prompts = ContextPrompts(clip_model, classnames, context)
        self.ctx = nn.Parameter(initial_vectors(clip_model, context, len(classnames)))
        joint, width = clip_model.visual.output_dim, clip_model.transformer.width
        hidden = joint // BOTTLENECK
        layers = OrderedDict(linear1=nn.Linear(joint, hidden), relu=nn.ReLU(), linear2=nn.Linear(hidden, width))
        self.meta_net = nn.Sequential(layers)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logits(clip_image_features(self.clip_model, images))
        return F.cross_entropy(logits, labels), logits

    def logits(self, f: Tensor) -> Tensor:
        """Return the cosine logits ``[B, C]`` of unit image features ``[B, d]`` and each image's own class features."""
        return cosine_logits(self.clip_model, f, self.prompts.features(self.contexts(f)))

    def contexts(self, f: Tensor) -> Tensor:
        """Return each image's vectors ``[B, M, d_t]``, made of its unit features ``[B, d]``."""
        with no_autocast(f):
            return self.ctx + self.meta_net(f)[:, None]

    def class_features(self) -> None:
        """Return None: class features depend on the image."""

    def scores(self, images: Tensor, class_features: None) -> Tensor:
        """Return the logits ``[B, C]``, a few images at a time: memory does not grow with the batch."""
        at_once = max(1, TOKENS_AT_ONCE // self.prompts.start.shape[1])
        features = clip_image_features(self.clip_model, images)
        return torch.cat([self.logits(f) for f in features.split(at_once)])

    def ignores_checkpoint_key(self, key: str) -> bool:
        return is_class_buffer(key)


@TRAINER_REGISTRY.register()
class CoCoOp(CLIPTrainer):
    """Trainer of CoCoOp."""

    registered_name = "prompt_learner"

    @classmethod
    def context_of(cls, cfg: Any) -> Context:
        """Return what is learned: a vector for each of CTX_INIT's words, or N_CTX of them."""
        settings = cls.settings_of(cfg)
        return Context.of(settings.words, settings.n_ctx)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> CoCoOpModel:
        return CoCoOpModel(clip_model, classnames, cls.context_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the vectors where no words are given; the network."""
        yield from a_clip(model)
        yield from words_or(model, "ctx", cls.context_of(cfg).words, INIT_STD, cls.official_dtype(cfg))
        for name in ("meta_net.linear1", "meta_net.linear2"):
            yield from one_linear(model, name)
