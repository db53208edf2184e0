"""ProDA: Prompt Distribution Learning (Lu et al., CVPR 2022).

K prompts with learned contexts are learned together: the class features of a few of them at a time give each class a
mean and classes a covariance per dimension, and the loss is an upper bound of the expected cross-entropy if features
were Gaussian. The contexts are kept apart by the cosines of their features without a class name. The classifier is the
mean over all K prompts, not normalised again.

The authors' code for this benchmark is not public. Facts where the paper is silent are those that three third-party
implementations agree on (CLIP_Calibration's above all): a quarter of the prompts have the name in front, a quarter in
the middle, the others at the end; all K are shuffled and used ``PROMPT_BS`` at a time; the covariance is divided by
their number plus 1. They disagree on the weight of the cosines: 0.1 (here), 1, or none. Two of them mistake where
names with underscores end; here underscores are spaces throughout. They work in half precision; what is learned here,
and all that enters the loss, is float32.

Shapes: B images, C classes, K prompts, b of them in a step, n context vectors, d_t text width, d joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import layers
from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.base import CLIPTrainer
from .shared.context import INIT_STD, Context, ContextPrompts, is_class_buffer
from .shared.cosine import at_least_float32, clip_image_features, cosine_logits, l2_normalize
from .shared.method import Method


class ProDAModel(Method):
    """The contexts ``ctx`` ``[K, n, d_t]`` over frozen CLIP; ``apart`` is the weight of their cosines.

    Attribute ``chosen``: which ``at_once`` (b) prompts the next step uses, by number.
    """

    def __init__(
        self,
        clip_model: CLIP,
        classnames: Sequence[str],
        prompts: int = 32,
        n_ctx: int = 16,
        at_once: int = 4,
        apart: float = 0.1,
    ):
        super().__init__(clip_model)
        self.ctx = nn.Parameter(INIT_STD * torch.randn(prompts, n_ctx, clip_model.transformer.width))
        self.apart, self.at_once, self.chosen = apart, at_once, list(range(at_once))
        self.positions = positions_of(prompts)
        # An accelerator takes all prompts in one pass: those that share SOS alone differ in nothing but their input.
        self.one_pass = layers.waits_for_launches(clip_model.positional_embedding.device)
        self.prompts = {
            at: ContextPrompts(clip_model, classnames, Context.of("", n_ctx, at), 1 if self.one_pass else None)
            for at in dict.fromkeys(self.positions)
        }
        self.nameless = ContextPrompts(clip_model, [""], Context.of("", n_ctx))

    def prompt_features(self, which: Sequence[int]) -> Tensor:
        """Return unit features ``[b, C, d]`` of these prompts, ordered by the name's place: front, middle, end."""
        groups = {position: [k for k in which if self.positions[k] == position] for position in self.prompts}
        if self.one_pass:
            x = torch.cat([self.prompts[at].embed(self.ctx[ks]) for at, ks in groups.items() if ks])
            return l2_normalize(self.prompts[self.positions[0]].read(x))
        return torch.cat([self.prompts[at].features(self.ctx[ks]) for at, ks in groups.items() if ks])

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bound and the weighted cosines, and the bound's logits."""
        f = clip_image_features(self.clip_model, images)
        w, nameless = self.prompt_features(self.chosen), self.nameless.features(self.ctx)[:, 0]
        with no_autocast(f):
            scores = cosine_logits(self.clip_model, f, w.mean(dim=0)) + self.spread(f, w, labels)
            return F.cross_entropy(scores, labels) + self.apart * mean_cosine(nameless), scores

    def spread(self, f: Tensor, w: Tensor, labels: Tensor) -> Tensor:
        """Return 1/2 s^2 sigma ``[B, C]``, the part of the logits that the covariances make.

        sigma_yj = sum_d f_d^2 (A_d[y, y] + A_d[j, j] - 2 A_d[y, j]), with A_d the classes' covariance in dimension d,
        which is never made: products with the deviations do.
        """
        deviations = (w - w.mean(dim=0)).transpose(0, 1)  # [C, b, d]
        squares = f.square()
        of_class = squares @ deviations.square().sum(dim=1).t()
        with_own = (squares[:, None] * deviations[labels]).flatten(1) @ deviations.flatten(1).t()
        sigma = of_class.gather(1, labels[:, None]) + of_class - 2 * with_own
        return 0.5 * at_least_float32(self.clip_model.logit_scale.exp()).square() * sigma / (len(w) + 1)

    def class_features(self) -> Tensor:
        """Return the mean ``[C, d]`` over all prompts, not normalised again; a few are computed at a time."""
        parts = torch.arange(len(self.ctx)).split(self.at_once)
        sums = [self.prompt_features(part.tolist()).sum(dim=0) for part in parts]
        return torch.stack(sums).sum(dim=0) / len(self.ctx)

    def ignores_checkpoint_key(self, key: str) -> bool:
        return is_class_buffer(key) or key.startswith("nc_token_")


def positions_of(prompts: int) -> list[str]:
    """Return the class name's place in each prompt: front in a quarter, middle in a quarter, else end."""
    quarter = prompts // 4
    return ["front"] * quarter + ["middle"] * quarter + ["end"] * (prompts - 2 * quarter)


def mean_cosine(features: Tensor) -> Tensor:
    """Return the mean of the absolute cosines of different rows of unit features ``[K, d]``; 0 for one row."""
    count = len(features)
    cosines = (features @ features.t()).abs()
    return (cosines.sum() - cosines.diagonal().sum()) / max(1, count * (count - 1))


def prompts_of_step(step: int, prompts: int, at_once: int, seed: int) -> list[int]:
    """Return the prompts of a training step: all come in turn, in a new order every ``prompts / at_once`` steps.

    A function of the step alone, so that a resumed run goes on as it would have.
    """
    cycle, place = divmod(step, prompts // at_once)
    generator = torch.Generator().manual_seed((seed * 1_000_003 + cycle) % 2**63)
    order = torch.randperm(prompts, generator=generator).tolist()
    return order[place * at_once : (place + 1) * at_once]


@TRAINER_REGISTRY.register()
class ProDA(CLIPTrainer):
    """Trainer of ProDA."""

    registered_name = "prompt_learner"
    shape_settings = ("N_CTX", "N_PROMPT")
    not_graphed = "each step has other prompts, and class names in other places"

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ProDAModel:
        """Return the prompts over these classes; the data set's template has no part in them."""
        settings = cls.settings_of(cfg)
        numbers = settings.n_prompt, settings.n_ctx, settings.prompt_bs, settings.lambda_
        return ProDAModel(clip_model, classnames, *numbers)

    def forward_backward(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Do a step with the prompts whose turn it is."""
        step = self.epoch * self.num_batches + self.batch_idx
        seed = self.cfg.SEED if self.cfg.SEED >= 0 else torch.initial_seed()
        self.model.chosen = prompts_of_step(step, len(self.model.ctx), self.model.at_once, seed)
        return super().forward_backward(batch)
