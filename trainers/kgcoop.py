"""KgCoOp: Visual-Language Prompt Tuning with Knowledge-guided Context Optimization (Yao, Zhang and Xu, CVPR 2023).

CoOp, kept near CLIP: the loss adds W times the mean over all classes of 1 - cos(w_c, z_c), where z_c is frozen CLIP's
feature of the data set's template, computed once. Scores are CoOp's.

As in the official code, which differs from the paper's mean squared distance 2 (1 - cos) by the factor 2 (W is 8 here
too). CTX_INIT is a switch: True starts from "a photo of a" whatever N_CTX, False draws N_CTX vectors. Templates are
zero-shot CLIP's but for DTD's. Other than there: z comes from CLIP in the run's precision, not always in half; tensors
that nothing uses, and official checkpoints hold, are neither made nor loaded, so that equal seeds draw other batches.

Shapes: B images, C classes, M vectors, d_t text width, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from clip.draws import Draw, linear
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .coop import ContextTrainer, CoOpModel
from .shared.context import Context, clip_text_features
from .shared.cosine import cosine_distance
from .shared.official_stream import a_clip
from .shared.seeds import Losses, cosine_losses
from .shared.templates import fill, template_of

TEMPLATES = {"DescribableTextures": "a photo of a {}, a type of texture."}  # where not zero-shot CLIP's
_UNUSED = ("bias_vectors", "meta_net.linear1.weight", "meta_net.linear1.bias")


class KgCoOpModel(CoOpModel):
    """CoOp's vectors and the distance, weighed by ``weight`` (W), to ``text_features_clip`` ``[C, d]``.

    These are frozen CLIP's class features for prompts of ``template``.
    """

    def __init__(self, clip_model: CLIP, classnames: list[str], context: Context, template: str, weight: float):
        super().__init__(clip_model, classnames, context)
        self.weight = weight
        self.text_features_clip = clip_text_features(clip_model, fill(template, classnames))

    def regularizer(self, w: Tensor) -> Tensor:
        """Return W (1 - mean cos)."""
        return self.weight * cosine_distance(w, self.text_features_clip)

    @classmethod
    def joint_losses(cls, models: Sequence[Any], images: Tensor, labels: Sequence[Tensor]) -> Losses:
        """Return ``loss`` of S models, each of its images of ``[S, B, 3, H, W]`` and its labels ``[B]``."""
        f, w = cls.joint_features(models, images)
        found = zip(models, w, cosine_losses(models, f, w, labels), strict=True)
        return [(loss + model.regularizer(own), scores) for model, own, (loss, scores) in found]

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Return True for the embeddings around the context, and for tensors that the public code never uses."""
        return key in _UNUSED or super().ignores_checkpoint_key(key)


@TRAINER_REGISTRY.register()
class KgCoOp(ContextTrainer):
    """Trainer of KgCoOp."""

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> KgCoOpModel:
        context, weight = cls.context_of(cfg), cls.settings_of(cfg).w
        return KgCoOpModel(clip_model, classnames, context, template_of(cfg, TEMPLATES), weight)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield two CLIPs, and between and behind them what nothing uses; 512 is a literal there."""
        yield from a_clip(model)
        yield from cls.draws_of_vectors(cfg, model)
        yield Draw("bias_vectors", "normal", (1, 512))
        yield from a_clip(model)
        yield from linear("meta_net.linear1", (512, 512))
        yield from (*linear("adapter.0", (128, 512), bias=False), *linear("adapter.2", (512, 128), bias=False))
