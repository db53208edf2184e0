"""TCP: Textual-based Class-aware Prompt tuning (Yao, Zhang and Xu, CVPR 2024).

Four learned vectors stand where CoOp has them. Before the text tower's ninth layer (the official literal; in a tower
without one, two thirds up) they are replaced, class by class, by four tokens that a small network makes of frozen
CLIP's feature of the class, T0. The loss is cross-entropy + 8 (1 - the mean over all classes of cos(w_c, T0_c)); images
see frozen CLIP.

As in the official code: the templates below (of T0, and of the learned prompts, whose first four words are replaced);
the weight 8 and the complete replacement are literals, TRAINER.COOP.W is not read; Adam with eps 0.001, which the
official README asks to patch into Dassl and without which it reports NaN; the vectors are drawn unless CTX_INIT is
True (then "a photo of a"). A data set without a template of its own has DATASET.TEMPLATE's or zero-shot CLIP's, and
"X X X X" before the class name in the learned prompts. Learned tensors stay float32 in every precision (the official
ones are half).

Up to the replacement the classes share SOS, vectors and words before the name; after it only SOS.

Shapes: B images, C classes, d_t text width, d joint width, P + T tokens (``clip.class_prompts``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from clip.class_prompts import ClassPrompts
from clip.draws import Draw
from clip.layers import QuickGELU
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .coop import ContextTrainer
from .settings import TCPSettings
from .shared.context import Context, ContextPrompts, clip_text_features, initial_vectors, is_class_buffer, placeholders
from .shared.cosine import cosine_distance
from .shared.method import DualEncoder
from .shared.official_stream import a_clip, one_linear
from .shared.templates import fill, prompt_tokens, template_of

VECTORS = TCPSettings.vectors
WEIGHT = 8.0
REPLACED_BEFORE = 8  # the layer, from 0
ADAM_EPS = 1e-3
# Of the frozen feature T0, where not zero-shot CLIP's.
PRIOR_TEMPLATES = {
    "Food101": "a photo of a {}, a type of food.",
    "FGVCAircraft": "a photo of an aircraft {}.",
    "DescribableTextures": "a photo of a {}, a type of texture.",
}
# Of the learned prompts, where not "X X X X {}" and the end of zero-shot CLIP's.
LEARNED_TEMPLATES = {
    "StanfordCars": "X X X X {}, a type of car",
    "UCF101": "a photo of a person doing {}.",
}


class TCPPrompts(ContextPrompts):
    """The text encoder over prompts whose first four words are learned, and later on replaced.

    Attributes beside ``ContextPrompts``'s: ``own``, the layout in which classes share SOS alone; ``source``
    ``[1 + T']``, where each of its tokens lies in ``layout``; ``replaced`` ``[4 C]``, the places of the class-aware
    tokens in it, and ``order`` ``[C]``, the class at each of its sorted places.

    Args:
        clip_model: frozen CLIP; build under the autocast of the run.
        prompts: one per class, beginning with four words of one token each.
    """

    def __init__(self, clip_model: CLIP, prompts: list[str]):
        self.clip_model, self.context = clip_model, Context(placeholders(VECTORS), VECTORS)
        rows = prompt_tokens(prompts).long().to(clip_model.positional_embedding.device)
        rows[:, 1 : 1 + VECTORS] = -1 - torch.arange(VECTORS, device=rows.device)
        self._lay_out(rows)
        blocks = list(clip_model.transformer.resblocks)
        replace_at = REPLACED_BEFORE if len(blocks) > REPLACED_BEFORE else 2 * len(blocks) // 3
        self.lower, self.upper = blocks[:replace_at], blocks[replace_at:]
        self.own = ClassPrompts(rows, prefix=1)  # classes are sorted as in ``layout``: all are longer by the same
        shared = self.own.positions < self.layout.prefix
        self.source = torch.where(shared, self.own.positions, self.layout.prefix + (~shared).cumsum(0) - 1)
        self.replaced = ((self.own.positions >= 1) & (self.own.positions <= VECTORS)).nonzero()[:, 0]
        self.order = self.own.rank.argsort()

    def class_aware_features(self, ctx: Tensor, class_tokens: Tensor) -> Tensor:
        """Return raw features ``[C, d]`` of the vectors ``[4, d_t]`` and the class-aware tokens ``[C, 4, d_t]``."""
        x = self.layout.run(self.lower, self.embed(ctx)).index_select(1, self.source)
        tokens = class_tokens.index_select(0, self.order).flatten(0, 1).to(x.dtype)
        x = x.index_copy(1, self.replaced, tokens[None])
        return self.clip_model.text_to_joint_space(self.own.run(self.upper, x, last=True)[0])


class TCPModel(DualEncoder):
    """The learned vectors ``ctx`` ``[4, d_t]`` and the network ``meta_net`` from T0 to the class-aware tokens.

    Of each class there are two texts: ``prior_prompts`` gives T0, in ``prompts`` the first four words are learned,
    starting from ``words`` if there are any.
    """

    def __init__(self, clip_model: CLIP, prior_prompts: list[str], prompts: list[str], words: str = ""):
        super().__init__(clip_model)
        self.prompts = TCPPrompts(clip_model, prompts)
        self.text_features_clip = clip_text_features(clip_model, prior_prompts)  # T0 [C, d]
        self.ctx = nn.Parameter(initial_vectors(clip_model, Context.of(words, VECTORS), len(prompts)))
        self.meta_net = meta_net(self.text_features_clip.shape[1], clip_model.transformer.width)

    def regularizer(self, w: Tensor) -> Tensor:
        """Return 8 (1 - mean cos)."""
        return WEIGHT * cosine_distance(w, self.text_features_clip)

    def class_tokens(self) -> Tensor:
        """Return what replaces the vectors, ``[C, 4, d_t]``."""
        return self.meta_net(self.text_features_clip).unflatten(1, (VECTORS, -1))

    def raw_class_features(self) -> Tensor:
        return self.prompts.class_aware_features(self.ctx, self.class_tokens())

    def ignores_checkpoint_key(self, key: str) -> bool:
        return is_class_buffer(key)


def meta_net(embed_dim: int, text_width: int) -> nn.Sequential:
    """Return the network from T0 ``[C, d]`` to ``[C, 4 d_t]``, through d / 4 units."""
    hidden = embed_dim // 4
    first, second = nn.Linear(embed_dim, hidden), nn.Linear(hidden, VECTORS * text_width)
    return nn.Sequential(OrderedDict(linear1=first, relu=QuickGELU(), linear2=second))


@TRAINER_REGISTRY.register()
class TCP(ContextTrainer):
    """Trainer of TCP."""

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> TCPModel:
        prior, learned = (fill(template, classnames) for template in templates_of(cfg))
        return TCPModel(clip_model, prior, learned, cls.settings_of(cfg).words)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; the vectors where no words are given; a CLIP; the network."""
        yield from a_clip(model)
        yield from cls.draws_of_vectors(cfg, model)
        yield from a_clip(model)
        for name in ("meta_net.linear1", "meta_net.linear2"):
            yield from one_linear(model, name)

    def build_model(self) -> None:
        """Build the model; Adam gets the official eps."""
        super().build_model()
        if self.cfg.OPTIM.NAME == "adam":
            for group in self.optim.param_groups:
                group["eps"] = ADAM_EPS


def templates_of(cfg: Any) -> tuple[str, str]:
    """Return the templates of T0 and of the learned prompts; DATASET.TEMPLATE goes before both tables."""
    usual, name = template_of(cfg), "" if cfg.DATASET.TEMPLATE else cfg.DATASET.NAME
    learned = f"{placeholders(VECTORS)} {{}}{usual.partition('{}')[2]}"
    return PRIOR_TEMPLATES.get(name, usual), LEARNED_TEMPLATES.get(name, learned)
