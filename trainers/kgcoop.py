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

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from clip.draws import Draw, linear
from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .coop import ContextTrainer, CoOpModel, context_of, switch_of
from .shared.context import INIT_STD, Context, clip_text_features
from .shared.official_stream import a_clip, words_or
from .shared.templates import fill, template_of

PHRASE = "a photo of a"
TEMPLATES = {"DescribableTextures": "a photo of a {}, a type of texture."}  # where not zero-shot CLIP's
_UNUSED = ("bias_vectors", "meta_net.linear1.weight", "meta_net.linear1.bias")


class KgCoOpModel(CoOpModel):
    """CoOp's vectors and the distance to the frozen class features ``text_features_clip`` ``[C, d]``.

    Args:
        clip_model: frozen CLIP.
        classnames: C names.
        context: what is learned, and where.
        template: of the prompts of frozen CLIP.
        weight: W.
    """

    def __init__(self, clip_model: CLIP, classnames: list[str], context: Context, template: str, weight: float):
        super().__init__(clip_model, classnames, context)
        self.weight = weight
        self.text_features_clip = clip_text_features(clip_model, fill(template, classnames))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy + W (1 - mean cos), and the logits ``[B, C]``."""
        w = self.class_features()
        cross_entropy, logits = self.cross_entropy(images, labels, w)
        return cross_entropy + self.weight * self.distance(w), logits

    def distance(self, w: Tensor) -> Tensor:
        """1 - the mean over all classes of cos(w_c, z_c), for unit class features ``[C, d]``."""
        with no_autocast(w):
            return 1 - (w * self.text_features_clip).sum(dim=-1).mean()

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Official checkpoints also hold tensors that nothing uses."""
        return key in _UNUSED or super().ignores_checkpoint_key(key)


@TRAINER_REGISTRY.register()
class KgCoOp(ContextTrainer):
    """Trainer of KgCoOp."""

    def check_cfg(self, cfg: Any) -> None:
        """Raises ValueError naming the key that is out of range."""
        super().check_cfg(cfg)
        if cfg.TRAINER.COOP.W < 0:
            raise ValueError(f"TRAINER.COOP.W must be at least 0, not {cfg.TRAINER.COOP.W}")

    @classmethod
    def context_of(cls, cfg: Any) -> Context:
        """Of the phrase, or N_CTX vectors. Raises ValueError naming the key that is out of range."""
        return context_of(cfg.TRAINER.COOP, PHRASE if switch_of(cfg.TRAINER.COOP) else "")

    @classmethod
    def template_of(cls, cfg: Any) -> str:
        """DATASET.TEMPLATE, or the one for the data set. Raises ValueError where there is none."""
        own = TEMPLATES.get(cfg.DATASET.NAME)
        return own if own and not cfg.DATASET.TEMPLATE else template_of(cfg)

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> KgCoOpModel:
        """The model over these classes."""
        context, weight = cls.context_of(cfg), float(cfg.TRAINER.COOP.W)
        return KgCoOpModel(clip_model, classnames, context, cls.template_of(cfg), weight)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Two CLIPs, and between and behind them what nothing uses; 512 is a literal there."""
        yield from a_clip(model)
        yield from words_or(model, "ctx", cls.context_of(cfg).words, INIT_STD, cls.official_dtype(cfg))
        yield Draw("bias_vectors", "normal", (1, 512))
        yield from a_clip(model)
        yield from linear("meta_net.linear1", (512, 512))
        yield from (*linear("adapter.0", (128, 512), bias=False), *linear("adapter.2", (512, 128), bias=False))
