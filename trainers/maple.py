"""MaPLe: Multi-modal Prompt Learning (Khattak, Rasheed, Maaz, Khan and Khan, CVPR 2023).

In the first J layers of the text tower K learned tokens stand after SOS, those of a layer in the place of the ones
before; each layer's are mapped by a Linear of its own to K tokens of the image tower. So text prompts get gradients
from both towers, image prompts have no tensors of their own. Cross-entropy of CLIP's cosine logits, no other term.

As in the official code: "a photo of a {}." for every data set, of which the first K words are learned; the first
layer's tokens have positional embeddings in the text tower and none in the image tower, where they do pass
``ln_pre``; deeper ones neither; the outputs of layer J flow on. The Linears of layers 2 to J start as copies of one.
The sizes 512 and 768, literals there, are the towers' own here. Learned tensors are float32 in every precision (the
official ``ctx`` and ``proj`` are half).

Shapes: B images, C classes, K = N_CTX, J = PROMPT_DEPTH, d_v, d_t tower widths, d joint width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from clip.draws import Draw, linear
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .settings import MaPLeSettings, words_of_deep_text
from .shared.base import CLIPTrainer
from .shared.context import INIT_STD, is_class_buffer
from .shared.deep_prompts import (
    DeepText,
    ImageStart,
    check_depth,
    check_vit,
    initial_context,
    is_clip_tensor,
    normal_init,
)
from .shared.method import DualEncoder
from .shared.official_stream import a_clip, normal, one_linear, words_or
from .shared.seeds import Losses, cosine_losses, stacked


class PromptLearner(nn.Module):
    """The learned tensors under their official names: K tokens per layer, and their maps to the image tower."""

    def __init__(self, ctx: Tensor, depth: int, vision_width: int):
        super().__init__()
        count, width = ctx.shape
        # Drawn in the official order.
        self.proj = nn.Linear(width, vision_width)
        self.compound_prompts_text = nn.ParameterList(normal_init(count, width) for _ in range(depth - 1))
        one = nn.Linear(width, vision_width)
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(one) for _ in range(depth - 1))
        self.ctx = nn.Parameter(ctx)

    def text(self) -> list[Tensor]:
        """Return J times ``[K, d_t]``."""
        return [self.ctx, *self.compound_prompts_text]

    def vision(self) -> list[Tensor]:
        """Return J times ``[K, d_v]``, made of the text's."""
        return [
            proj(text) for proj, text in zip([self.proj, *self.compound_prompt_projections], self.text(), strict=True)
        ]


class MaPLeModel(DualEncoder):
    """Prompts of both towers, the text's before one class name each (underscores are spaces)."""

    changes_image_feature = True

    def __init__(self, clip_model: CLIP, classnames: list[str], settings: MaPLeSettings):
        super().__init__(clip_model)
        visual, n_ctx, depth = check_vit(clip_model, "MaPLe"), settings.n_ctx, settings.prompt_depth
        layers = min(visual.transformer.layers, clip_model.transformer.layers)
        check_depth(depth, layers, settings.key("PROMPT_DEPTH"), "shallower")
        words, ctx = initial_context(clip_model, settings.ctx_init, n_ctx, settings.key("N_CTX"))
        self.prompt_learner = PromptLearner(ctx, depth, visual.width)
        self.text = DeepText(clip_model, words, classnames, n_ctx)

    def raw_class_features(self) -> Tensor:
        return self.text.raw_features(self.prompt_learner.text())

    def raw_image_features(self, images: Tensor) -> Tensor:
        return ImageStart(self.clip_model.visual, images).raw_feature(self.prompt_learner.vision())

    @staticmethod
    def joint_losses(models: Sequence[Any], images: Tensor, labels: Sequence[Tensor]) -> Losses:
        """Return ``loss`` of S models, each of its images of ``[S, B, 3, H, W]`` and its labels ``[B]``."""
        first, learners = models[0], [model.prompt_learner for model in models]
        f = ImageStart(first.clip_model.visual, images.flatten(0, 1)).feature(
            stacked([one.vision() for one in learners])
        )
        w = first.text.features(stacked([one.text() for one in learners]))
        return cosine_losses(models, f.unflatten(0, images.shape[:2]), w, labels)

    def ignores_checkpoint_key(self, key: str) -> bool:
        return is_class_buffer(key) or is_clip_tensor(key, self.clip_model)


@TRAINER_REGISTRY.register()
class MaPLe(CLIPTrainer):
    """Trainer of MaPLe."""

    registered_name = "MultiModalPromptLearner"
    shape_settings = ("N_CTX", "PROMPT_DEPTH")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MaPLeModel:
        return MaPLeModel(clip_model, classnames, cls.settings_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the first tokens if words do not give them; their map; deeper tokens; one map for all these."""
        settings, learner = cls.settings_of(cfg), "prompt_learner"
        deeper = range(settings.prompt_depth - 1)
        yield from a_clip(model)
        words = words_of_deep_text(settings.ctx_init, settings.n_ctx)
        yield from words_or(model, f"{learner}.ctx", words, INIT_STD, cls.official_dtype(cfg))
        yield from one_linear(model, f"{learner}.proj")
        yield from (normal(model, f"{learner}.compound_prompts_text.{i}", INIT_STD) for i in deeper)
        shape = model.prompt_learner.proj.weight.shape
        copies = [f"{learner}.compound_prompt_projections.{i}" for i in deeper]
        yield from linear("one of the deeper maps", tuple(shape), keep=copies)
