"""MMRL++: Parameter-Efficient and Interaction-Aware Representation Learning (Guo and Gu, arXiv 2505.10088).

MMRL (``trainers/mmrl/``) with three changes. One map per tower with a low-rank residual per layer (SRRA) replaces the
maps of their own; the representation projection is CLIP's own plus a low-rank residual; and before every layer after J
the representation tokens are beta R_i + (1 - beta) (what the layer before made of them) (PRC). So here the outputs of
the representation tokens are read; in the text tower they depend on no class and stand in the prefix that all classes
share.

From the authors' release (names, initial values, the literal 100); it mixes logits for seen classes (FUSION logits, the
default here). In cross-dataset runs it sets beta per target at test time, a choice made on the targets themselves: by
default beta stays that of training; BETA_AT_TEST target takes the release's values, which stand in the configuration.

Shapes: B images, C classes, K tokens, M patches, d_r, d_v, d_t widths, d joint width, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.draws import Draw, default_bound
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .mmrl import MMRLModel, Projected
from .settings import MMRLppSettings
from .shared.base import CLIPTrainer
from .shared.cosine import at_least_float32, l2_normalize
from .shared.official_stream import a_clip, normal, uniform
from .shared.templates import fill, template_of


class LowRank(nn.Module):
    """A ``[out, r]`` and B ``[r, in]``, whose product starts at zero; with ``bias`` ``[out]`` where one is given."""

    def __init__(self, width_out: int, width_in: int, rank: int, bias: Tensor | None = None):
        super().__init__()
        self.A = nn.Parameter(torch.empty(width_out, rank))
        self.B = nn.Parameter(torch.zeros(rank, width_in))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)  # uniform in +-rank^-0.5
        self.bias = None if bias is None else nn.Parameter(bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in]`` to ``[..., out]``; A B is never formed, as it would be as large as what it is added to."""
        return F.linear(F.linear(x, self.B), self.A, self.bias)


class SharedMap(nn.Module):
    """SRRA: layer i maps R by ``weight`` + A_i B_i and ``bias_i``; the biases start as copies of one Linear's."""

    def __init__(self, first: nn.Linear, layers: int, rank: int):
        super().__init__()
        self.weight = nn.Parameter(first.weight.detach().clone())
        bias = first.bias.detach()
        width_out, width_in = first.weight.shape
        self.srra = nn.ModuleList(LowRank(width_out, width_in, rank, bias) for _ in range(layers))

    def forward(self, space: Tensor) -> list[Tensor]:
        """Return the tokens ``[K, d]`` of each layer for R ``[K, d_r]``."""
        shared, residuals = F.linear(space, self.weight), [own(space) for own in self.srra]
        return [shared + residual for residual in residuals]


class SharedLearner(nn.Module):
    """The space R and its shared maps into both towers, under the release's names."""

    def __init__(self, settings: MMRLppSettings, vision_width: int, text_width: int):
        super().__init__()
        self.compound_rep_tokens = nn.Parameter(torch.empty(settings.n_rep_tokens, settings.rep_dim))
        nn.init.normal_(self.compound_rep_tokens, std=0.02)
        vision, text = (nn.Linear(settings.rep_dim, width) for width in (vision_width, text_width))
        depth, rank = len(settings.rep_layers), settings.res_lora_dim
        self.srra_r2vproj = SharedMap(vision, depth, rank)
        self.srra_r2tproj = SharedMap(text, depth, rank)

    def forward(self, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """Return tokens of layers J..L: images ``[K, d_v]`` each, text ``[K, d_t]`` each."""
        maps = (self.srra_r2vproj, self.srra_r2tproj)
        vision, text = ([tokens.to(dtype) for tokens in one(self.compound_rep_tokens)] for one in maps)
        return vision, text


class MMRLppModel(MMRLModel):
    """MMRL's loss, scores and frozen branch with the learned tensors and the token mixing of MMRL++."""

    settings: MMRLppSettings

    def __init__(self, clip_model: CLIP, prompts: Sequence[str], settings: MMRLppSettings, both: bool = True):
        super().__init__(clip_model, prompts, settings, both)
        self.beta = settings.beta

    @staticmethod
    def learned(settings: MMRLppSettings, clip_model: CLIP) -> tuple[Any, Any]:
        """Return what is learned, at its initial values: the space and its maps, and the projection's residual."""
        visual = clip_model.visual
        learner = SharedLearner(settings, visual.width, clip_model.transformer.width)
        return learner, LowRank(visual.width, visual.output_dim, settings.proj_lora_dim)

    def rep_projection(self) -> Tensor:
        """Return CLIP's own projection plus the residual, ``[d_v, d]``."""
        visual = self.clip_model.visual
        return at_least_float32(visual.proj) + self.image_encoder.A @ self.image_encoder.B

    def mix(self, tokens: Tensor, outputs: Tensor) -> Tensor:
        """Mix a layer's own tokens ``[K, d]`` with the outputs ``[..., K, d]`` of the layer before (PRC)."""
        return self.beta * tokens + (1 - self.beta) * outputs

    def _image_features(
        self, x: Tensor, tokens: list[Tensor], rep: bool, projected: Projected | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return f_c ``[B, d]`` and, if ``rep``, f_r ``[B, d]``. The K tokens stand first: no mask, so order is free.

        In layer J the tokens are the same for all images and are projected once; ``projected`` is that of the rest.
        """
        visual, count, last = self.clip_model.visual, len(tokens[0]), self.image_upper[-1]
        if len(tokens) > 1:
            first = self.image_upper[0]
            new = (tokens[0], *first.project(tokens[0]))
            old = (x, *(projected or first.project(x)))
            x = first.attend(*(_put_first(a, b) for a, b in zip(new, old, strict=True)))
            for block, own in zip(self.image_upper[1:-1], tokens[1:-1], strict=True):
                x = block(_put_first(self.mix(own, x[:, :count]), x[:, count:]))
            x = _put_first(self.mix(tokens[-1], x[:, :count]), x[:, count:])
        else:
            x = _put_first(tokens[0], x)
        if not rep:
            return l2_normalize(visual.to_joint_space(last(x, rows=slice(count, count + 1))[:, 0])), None
        out = last(x, rows=slice(0, count + 1))
        return l2_normalize(visual.to_joint_space(out[:, count])), self._read_rep(out[:, :count])

    def _read_text(self, states: Tensor, tokens: list[Tensor] | None) -> Tensor:
        """Return class features ``[C, d]`` from the input of layer J on; the tokens stand in the prefix, after BOT."""
        if tokens is None:
            return super()._read_text(states, None)
        count, x = len(tokens[0]), states
        for i, (block, own) in enumerate(zip(self.text_upper, tokens, strict=True)):
            mixed = own[None] if i == 0 else self.mix(own, x[:, 1 : 1 + count])
            rest = x[:, 1:] if i == 0 else x[:, 1 + count :]
            x = self.prompts.layer(block, torch.cat([x[:, :1], mixed, rest], dim=1), last=block is self.text_upper[-1])
        return l2_normalize(self.clip_model.text_to_joint_space(x[0]))


def _put_first(tokens: Tensor, others: Tensor) -> Tensor:
    """Put tokens ``[K, d]`` or ``[B, K, d]`` before others ``[B, N, d]``: ``[B, K + N, d]``."""
    return torch.cat([tokens.expand(others.shape[0], *tokens.shape[-2:]), others], dim=1)


@TRAINER_REGISTRY.register()
class MMRLpp(CLIPTrainer):
    """Trainer of MMRL++; which features score is as in MMRL."""

    registered_name = "MultiModalRepresentationLearner"
    shape_settings = ("REP_LAYERS", "REP_DIM", "N_REP_TOKENS", "RES_LORA_DIM", "PROJ_LORA_DIM")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> MMRLppModel:
        prompts = fill(template_of(cfg), classnames)
        return MMRLppModel(clip_model, prompts, cls.settings_of(cfg))

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield two CLIPs, A behind ``proj`` in both; R; a Linear for each tower; the A's of the layers."""
        learner, settings = "representation_learner", model.settings
        bound = 1 / math.sqrt(settings.rep_dim)
        residual = uniform(model, "image_encoder.A", default_bound(settings.proj_lora_dim))
        yield from a_clip(model, ("visual.proj", residual))
        yield from a_clip(model, ("visual.proj", replace(residual, keep=())))
        yield normal(model, f"{learner}.compound_rep_tokens", 0.02)
        maps, layers = [f"{learner}.srra_{tower}proj" for tower in ("r2v", "r2t")], range(len(settings.rep_layers))
        for one in maps:
            weight = uniform(model, f"{one}.weight", default_bound(settings.rep_dim))
            biases = tuple(f"{one}.srra.{i}.bias" for i in layers)
            yield from (weight, Draw(f"{one}.bias", "uniform", weight.shape[:1], bound, keep=biases))
        for one in maps:
            yield from (uniform(model, f"{one}.srra.{i}.A", default_bound(settings.res_lora_dim)) for i in layers)

    def test(self, split: str | None = None) -> float:
        """Evaluate; with BETA_AT_TEST target, a cross-dataset target has the beta that TARGET_BETA lists for it."""
        model: Any = self.model
        model.beta = self.beta_at_test()
        try:
            return super().test(split)
        finally:
            model.beta = model.settings.beta

    def beta_at_test(self) -> float:
        """Return an evaluation's beta. Raises ValueError for a target that has none under BETA_AT_TEST target."""
        settings, name = self.settings, self.cfg.DATASET.NAME
        if settings.beta_at_test == "training" or self.cfg.TASK != "CD" or self.seen_classes():
            return settings.beta
        betas = {str(target): float(beta) for target, beta in settings.target_beta}
        if name not in betas:
            raise ValueError(
                f"{settings.key('TARGET_BETA')} lists no beta for {name}: "
                f"add one or set {settings.key('BETA_AT_TEST')} training"
            )
        print(f"Beta {betas[name]} of {name} (chosen on the target; {settings.beta} in training)")
        return betas[name]
