"""MMA++: Multi-Modal Adapter, improved (Yang et al., T-PAMI 2026).

MMA's adapters (``trainers/mma.py``) with another way to train. Each class has n texts, CLIP's 80 templates of ImageNet
(hc) or descriptions of its own (cupl); a step takes one of them for each class, and is drawn towards what the same
texts and images give with a smaller scale s' = u s, u uniform in [0, 1), without a gradient:

    L = CE(s) - rho mean_c cos(w_c, w'_c) - rho mean_i cos(f_i, f'_i).

It is negative where they agree. A class feature is the mean of its n texts' unit features, normalised, with a scale of
its own for tests.

Facts of the authors' code: gradients are not rescaled (MMA's are), so the learning rate is large; dropout stands behind
the shared map alone, with other masks in each of a step's four passes; biases start as ``nn.Linear`` draws them. There
the first evaluation sets the scale of tests for good and keeps texts' features, so that training could not go on after
it; here a step always has the scale of training. Texts of more than 77 tokens lose their end.

Layers before the first adapter, which both branches share, are computed once. The step's texts share no prefix: dropout
makes each class's first token its own.

Shapes: B images, C classes, n texts of a class, d joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clip import tokenize
from clip.class_prompts import ClassPrompts
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .mma import AdaptedTowers, MultiModalAdapter, linear_in
from .settings import MMAppSettings
from .shared.cosine import cosine_distance, cosine_logits, l2_normalize
from .shared.descriptions import described, file_of
from .shared.templates import fill, imagenet_templates

HC_TEMPLATES = 80  # of hc: all that there are
AT_ONCE = 1024  # texts in an evaluation's pass


class Step(NamedTuple):
    """Scores ``[B, C]`` and unit features of a step, and those of the branch that regularises it."""

    logits: Tensor
    w: Tensor  # [C, d]
    f: Tensor  # [B, d]
    w_reg: Tensor  # [C, d]
    f_reg: Tensor  # [B, d]


class MMAppModel(AdaptedTowers):
    """The adapters over n texts per class: token ids ``[C, n, 77]``."""

    method = "MultiModalAdapterPP"
    zero_biases = False

    def __init__(self, clip_model: CLIP, tokens: Tensor, settings: MMAppSettings):
        super().__init__(clip_model, settings)
        self.settings, self.tokens = settings, tokens.to(clip_model.positional_embedding.device)
        self.choose(torch.zeros(len(tokens), dtype=torch.long), 0.5)

    def choose(self, which: Tensor, share: float) -> None:
        """Say which text of each class ``[C]`` the next step has, and its u."""
        own = torch.arange(len(self.tokens), device=self.tokens.device)
        self.chosen, self.share = ClassPrompts(self.tokens[own, which.to(own.device)], prefix=0), share

    def draw(self) -> None:
        """Draw the next step's texts and u from torch's generator, in the official order."""
        classes, texts = self.tokens.shape[:2]
        which = torch.randint(texts, (1, classes))[0]
        self.choose(which, torch.rand(1).item())

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and the scores with the scale of training."""
        step = self.step(images)
        return torch.stack(self.terms(step, labels)).sum(), step.logits

    def step(self, images: Tensor) -> Step:
        """Return both branches of images ``[B, 3, H, W]`` and the chosen texts."""
        text, image, scale = self.frozen_text(self.chosen), self.frozen_image(images), self.settings.adapter_train_scale
        w, f = self._branch(text, image, scale)
        with torch.no_grad():
            w_reg, f_reg = self._branch(text, image, self.share * scale)
        return Step(cosine_logits(self.clip_model, f, w), w, f, w_reg, f_reg)

    def terms(self, step: Step, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss's terms: cross-entropy, and the weighted cosines of texts and of images."""
        rho = self.settings.adapter_train_scale_reg
        text, image = (rho * (cosine_distance(*pair) - 1) for pair in ((step.w, step.w_reg), (step.f, step.f_reg)))
        return F.cross_entropy(step.logits, labels), text, image

    def class_features(self) -> Tensor:
        path, found = partial(self.path, scale=self.settings.adapter_test_scale), []
        for tokens in self.tokens.flatten(0, 1).split(AT_ONCE):
            prompts = ClassPrompts(tokens)
            found.append(l2_normalize(self.adapted_text(prompts, self.frozen_text(prompts), path)))
        return l2_normalize(torch.cat(found).unflatten(0, self.tokens.shape[:2]).mean(dim=1))

    def image_features(self, images: Tensor) -> Tensor:
        path = partial(self.path, scale=self.settings.adapter_test_scale)
        return l2_normalize(self.adapted_image(self.frozen_image(images), path))

    def path(self, adapter: Any, shared: Any, x: Tensor, scale: float, drop: bool = False) -> Tensor:
        """Return y: s Up(ReLU(Shared(ReLU(Down(x))))), with dropout before Up if ``drop``."""
        hidden = F.relu(linear_in(F.relu(linear_in(x, adapter.down[0])), shared[0]))
        return scale * linear_in(self.dropout(hidden) if drop else hidden, adapter.up).to(x.dtype)

    def dropout(self, hidden: Tensor) -> Tensor:
        """Drop values of ``[..., N, r]`` while the model is in training mode."""
        return F.dropout(hidden, self.settings.adapter_drop, self.training)

    def _branch(self, text: Tensor, image: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        path = partial(self.path, scale=scale, drop=True)
        return l2_normalize(self.adapted_text(self.chosen, text, path)), l2_normalize(self.adapted_image(image, path))


def tokens_of(cfg: Any, settings: MMAppSettings, classnames: Sequence[str]) -> Tensor:
    """Return token ids ``[C, n, 77]`` of the classes' texts. Raises as ``described`` does."""
    if settings.input_prompts == "hc":
        texts = [[fill(one, [name])[0] for one in imagenet_templates()[:HC_TEMPLATES]] for name in classnames]
    else:
        texts = described(file_of(cfg, settings.descriptions), classnames, settings.key("DESCRIPTIONS"))
    return torch.stack([tokenize(own, truncate=True) for own in texts]).long()


@TRAINER_REGISTRY.register()
class MultiModalAdapterPP(MultiModalAdapter):
    """Trainer of MMA++; ``MMApp`` is an alias of its name."""

    not_graphed = "each step draws texts of other lengths, and a scale"

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MMAppModel:
        """Return the adapters over the texts of these classes; DATASET.TEMPLATE has no part in them."""
        settings = cls.settings_of(cfg)
        return MMAppModel(clip_model, tokens_of(cfg, settings, classnames), settings)

    def forward_backward(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Do a step with texts and a scale drawn for it."""
        self.model.draw()
        return super().forward_backward(batch)
