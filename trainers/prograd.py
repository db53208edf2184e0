"""ProGrad: Prompt-aligned Gradient for Prompt Tuning (Zhu, Niu, Han, Wu and Zhang, ICCV 2023).

CoOp, whose steps may not contradict CLIP. The cross-entropy gives a gradient g_a, the distance of its predictions to
those of zero-shot CLIP another, g_b. Where they point against each other (<g_a, g_b> < 0), LAMBDA times the part of g_a
along g_b is taken away; the distance itself is never descended.

The class features are computed once and read twice, by each loss. In the backward pass both gradients go back to the
vectors, one after the other (``_TwoReadings``), and one is made of the two. So the trainer's step is the usual one, and
the value of the loss is the cross-entropy.

As in the official code: CTX_INIT True starts N_CTX vectors as zeros followed by the words that the method's own
template has before the name (clauses turned round, so that the name is last); M words may be more tokens, and those
left over stay words of the prompt. False draws. Only ViT-B/16's settings are ours (the paper has ResNet-50). The
teacher is the run's own CLIP (the official one a second, in float32), and sees the same image feature.

Shapes: B images, C classes, M vectors, d_t text width, d joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clip.draws import Draw
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .coop import ContextTrainer, CoOpModel
from .settings import ProGradLoss
from .shared.context import Context, clip_text_features, placeholders
from .shared.cosine import clip_image_features, cosine_logits
from .shared.official_stream import a_clip
from .shared.templates import NAME_LAST_TEMPLATES, fill, template_of

NAME_LAST = " {}."  # how a template ends whose words before the name become the context
TEMPLATES = NAME_LAST_TEMPLATES


class ProGradModel(CoOpModel):
    """CoOp's vectors and the predictions of zero-shot CLIP.

    Args beside CoOp's:
        template: of the prompts of zero-shot CLIP.
        temperature: T.
        strength: lambda.
    """

    def __init__(
        self,
        clip_model: CLIP,
        classnames: list[str],
        context: Context,
        template: str,
        temperature: float = 1.0,
        strength: float = 1.0,
    ):
        super().__init__(clip_model, classnames, context)
        self.temperature, self.strength = temperature, strength
        self.text_features_clip = clip_text_features(clip_model, fill(template, classnames))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy, whose gradient is the aligned one, and the logits ``[B, C]``."""
        ours, to_clip, logits = self.losses(images, labels, *self._read_twice())
        return ours + (to_clip - to_clip.detach()), logits  # adds exactly 0, and NaN where the distance has it

    def losses(self, images: Tensor, labels: Tensor, w_a: Tensor, w_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cross-entropy with ``w_a``, the distance to CLIP with ``w_b``, both ``[C, d]``, and the logits."""
        f = clip_image_features(self.clip_model, images)
        logits = cosine_logits(self.clip_model, f, w_a)
        of_clip = cosine_logits(self.clip_model, f, self.text_features_clip)
        return F.cross_entropy(logits, labels), self.distance(cosine_logits(self.clip_model, f, w_b), of_clip), logits

    def distance(self, logits: Tensor, of_clip: Tensor) -> Tensor:
        """Return T^2 times the mean cross-entropy of predictions to CLIP's, at temperature T; logits ``[B, C]``."""
        t = self.temperature
        return F.cross_entropy(logits / t, (of_clip / t).softmax(dim=-1)) * t**2

    @torch.compiler.disable  # a graph inside a graph: compiled steps leave the text tower as it is
    def _read_twice(self) -> tuple[Tensor, Tensor]:
        return _TwoReadings.apply(self.ctx, lambda ctx: self.prompts.features(ctx)[0], self.strength)


class _TwoReadings(torch.autograd.Function):
    """A function of ``vectors``, twice, whose two gradients become one."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, function: Callable[[Tensor], Tensor], strength: float) -> Any:
        with torch.enable_grad():
            ctx.vectors = vectors.detach().requires_grad_()
            ctx.value = function(ctx.vectors)
        ctx.strength = strength
        return ctx.value.detach(), ctx.value.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (g_b,) = torch.autograd.grad(ctx.value, ctx.vectors, grads[1], retain_graph=True)
        (g_a,) = torch.autograd.grad(ctx.value, ctx.vectors, grads[0])
        return aligned(g_a, g_b, ctx.strength), None, None


def aligned(g_a: Tensor, g_b: Tensor, strength: float) -> Tensor:
    """Return g_a less ``strength`` times its part along g_b where they point against each other, as single vectors.

    Where g_b is zero, g_a comes out; where it is not finite, neither is the result, so that a loss scaler sees it.
    """
    b = g_b / g_b.abs().amax().clamp_min(torch.finfo(g_b.dtype).tiny)  # its square must not vanish
    along = (g_a * b).sum() / (b * b).sum().clamp_min(1)
    return torch.where(along >= 0, g_a, g_a - strength * along * b)


@TRAINER_REGISTRY.register()
class ProGrad(ContextTrainer):
    """Trainer of ProGrad; beside ``TRAINER.COOP`` it reads ``LOSS``."""

    def check_cfg(self, cfg: Any) -> None:
        super().check_cfg(cfg)
        ProGradLoss.of(cfg.LOSS)

    @classmethod
    def context_of(cls, cfg: Any) -> Context:
        """Return a context in the place of X's and the template's words. Raises ValueError naming the key."""
        drawn = super().context_of(cfg)
        if not cls.settings_of(cfg).ctx_init:
            return drawn
        words = words_before_name(template_of(cfg, TEMPLATES))
        spare = drawn.length - len(words.split())
        if spare < 0:
            raise ValueError(
                f"TRAINER.COOP.N_CTX is {drawn.length}, but {words!r} has {len(words.split())} words: raise N_CTX, or "
                "set TRAINER.COOP.CTX_INIT False"
            )
        context = replace(drawn, text=f"{placeholders(spare)} {words}".strip(), words=words)
        context.check_words("TRAINER.COOP")
        return context

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ProGradModel:
        context, template, loss = cls.context_of(cfg), template_of(cfg, TEMPLATES), ProGradLoss.of(cfg.LOSS)
        return ProGradModel(clip_model, classnames, context, template, loss.t, loss.lambda_)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield two CLIPs; the vectors where they do not start from the template."""
        yield from (*a_clip(model), *a_clip(model), *cls.draws_of_vectors(cfg, model))


def words_before_name(template: str) -> str:
    """Return a template's words before the class name. Raises ValueError where the name is not last."""
    if not template.endswith(NAME_LAST) or template == NAME_LAST:
        raise ValueError(
            f"ProGrad's context starts from the words before the class name, but the template is {template!r}: set "
            f"DATASET.TEMPLATE to one that ends in '{NAME_LAST}', or TRAINER.COOP.CTX_INIT False"
        )
    return template.removesuffix(NAME_LAST)
