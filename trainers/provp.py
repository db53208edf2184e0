"""ProVP-Ref: Progressive Visual Prompt Learning with Contrastive Feature Re-formation (Xu et al., IJCV 2024).

P learned tokens stand in every layer of the image tower; the text tower is frozen, its class features computed once.
A layer's tokens carry on a little of what the layer before made of its own,

    input_i = alpha output_{i-1} + (1 - alpha) P_i,    alpha = 0.01,

and a second term keeps image features apart as frozen CLIP has them (USE_REF):

    L = CE(exp(logit_scale) f w^T, y) + CE(f f_0^T, 0..B-1),    f, f_0 [B, d] prompted and frozen, of unit length.

As in the official code: the second term has no temperature, weight 1 and this one direction (LOSS.LAMBDA and LOSS.T
there are read by nothing); prompts have no positional embedding and do not pass ``ln_pre``; they start uniform in
+-v, v = sqrt(6 / (3 14^2 + d_v)) for every patch size; the prompts of five data sets (``TEMPLATES``) are its own,
not CoOp's. Otherwise than there: any P from 1 is inserted (theirs inserts above 4 only); learned tensors are float32 in
every precision; f_0 has the run's precision. The official code scores the test set after every epoch and keeps and
reports the epoch that does best there. Here TEST.FINAL_MODEL best_val (all configurations) keeps the epoch that is best
on the few-shot draw's validation images (ImageNet: on training images that were not drawn), with SELECT_ON_TEST the
official one, and last_step the last.

Shapes: B images, C classes, P tokens, L layers, M patches, d_v tower width, d joint width.
"""

from __future__ import annotations

import math
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
from .shared.context import clip_text_features
from .shared.cosine import cosine_logits, l2_normalize
from .shared.deep_prompts import ImageStart, check_vit
from .shared.features import loader_of, validation_images
from .shared.method import Method
from .shared.official_stream import a_clip, uniform
from .shared.templates import NAME_LAST_TEMPLATES, fill, template_of

CARRIED = 0.01  # alpha
PATCH_OF_INIT = 14
TEMPLATES = NAME_LAST_TEMPLATES


class ProVPModel(Method):
    """The tokens ``prompt_embeddings`` ``[L, P, d_v]``, P = ``n_ctx``, beside one filled-in text per class.

    ``use_ref``: whether the second term counts.
    """

    changes_image_feature = True

    def __init__(self, clip_model: CLIP, prompts: list[str], n_ctx: int, use_ref: bool = True):
        super().__init__(clip_model)
        visual = check_vit(clip_model, "ProVP")
        self.use_ref = use_ref
        bound = initial_bound(visual.width)
        self.prompt_embeddings = nn.Parameter(torch.empty(visual.transformer.layers, n_ctx, visual.width))
        nn.init.uniform_(self.prompt_embeddings, -bound, bound)
        self.text_features = clip_text_features(clip_model, prompts)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        terms, logits = self.terms(images, labels)
        return torch.stack(list(terms.values())).sum(), logits

    def terms(self, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the loss's terms, and the logits ``[B, C]``."""
        start = ImageStart(self.clip_model.visual, images)
        f = self._feature(start)
        logits = cosine_logits(self.clip_model, f, self.text_features)
        terms = {"ce": F.cross_entropy(logits, labels)}
        if self.use_ref:
            f_0 = start.frozen_feature()
            with no_autocast(f):
                similar = f @ f_0.t()
            terms["ref"] = F.cross_entropy(similar, torch.arange(f.shape[0], device=f.device))
        return terms, logits

    def class_features(self) -> Tensor:
        return self.text_features

    def image_features(self, images: Tensor) -> Tensor:
        return self._feature(ImageStart(self.clip_model.visual, images))

    def _feature(self, start: ImageStart) -> Tensor:
        """Return f ``[B, d]``; all images have the same first tokens, so these are projected once."""
        x, blocks = start.x, start.blocks
        batch, own = x.shape[:2]
        prompts = self.prompt_embeddings.to(x.dtype)
        first = prompts[:1]
        x = torch.cat([x, first.expand(batch, -1, -1)], dim=1)
        for block, following in zip(blocks[:-1], prompts[1:], strict=True):
            if block is blocks[0]:
                parts = zip(start.projected, block.project(first), strict=True)
                projected = tuple(torch.cat([a, b.expand(batch, -1, -1)], dim=1) for a, b in parts)
            else:
                projected = block.project(x)
            out = block.attend(x, *projected)
            x = torch.cat([out[:, :own], torch.lerp(following.expand_as(out[:, own:]), out[:, own:], CARRIED)], dim=1)
        return l2_normalize(start.visual.to_joint_space(blocks[-1](x, rows=slice(0, 1))[:, 0]))


def initial_bound(width: int) -> float:
    """Return v for a tower of width d_v."""
    return math.sqrt(6 / (3 * PATCH_OF_INIT**2 + width))


@TRAINER_REGISTRY.register()
class ProVP(CLIPTrainer):
    """Trainer of ProVP."""

    registered_name = "Prompt_learner"
    shape_settings = ("N_CTX",)

    def check_cfg(self, cfg: Any) -> None:
        super().check_cfg(cfg)
        if self.settings_of(cfg).select_on_test and cfg.TEST.FINAL_MODEL != "best_val":
            raise ValueError(
                "TRAINER.PROVP.SELECT_ON_TEST keeps the epoch that is best on the test set: it needs TEST.FINAL_MODEL "
                f"best_val, not {cfg.TEST.FINAL_MODEL}"
            )

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ProVPModel:
        """Return the model over these classes, with DATASET.TEMPLATE or the data set's official prompt."""
        settings, prompts = cls.settings_of(cfg), fill(template_of(cfg, TEMPLATES), classnames)
        return ProVPModel(clip_model, prompts, settings.n_ctx, settings.use_ref)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield two CLIPs, with or without USE_REF; the prompts."""
        yield from (*a_clip(model), *a_clip(model))
        yield uniform(model, "prompt_embeddings", initial_bound(model.prompt_embeddings.shape[-1]))

    def before_train(self) -> None:
        """Resume; where the best epoch is kept, choose the images that it is the best on.

        Raises ValueError where there are no images to choose on.
        """
        super().before_train()
        if self.cfg.TEST.FINAL_MODEL != "best_val":
            return
        if self.settings.select_on_test:
            print("The epoch that is best on the test set is kept: its accuracy is selected, not measured")
            self.val_loader = None  # then Dassl takes the test set
            return
        try:
            images = validation_images(self.cfg, self.dm.dataset, few=True)
        except ValueError as problem:
            raise ValueError(f"{problem}; TEST.FINAL_MODEL last_step keeps the last epoch") from problem
        self.val_loader = loader_of(self.cfg, images, self.dm.test_loader)
