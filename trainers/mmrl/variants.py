"""What MMRL learns, in full and in the variants of the paper's Table 4, and the regularisers of its Table 9.

A learner gives the representation tokens of layers J..L of both towers; a tower without tokens has an empty list. The
paper describes the variants in words only, and the release has none of them. Read here as:

- wo_L, wo_V: no tokens in the text, the image tower; the space R and its maps into the other tower stay. Without image
  tokens there is no representation feature, so the class feature alone is trained (alpha is 1) and scores.
- wo_RS: no space and no maps: the tokens of each layer and tower are learned themselves.
- biased (MMRL-dagger): as MaPLe couples its prompts: each layer's text tokens are learned, and mapped to the image.

Shapes: K tokens, d_r, d_v, d_t widths of the space and the towers, d joint width, N features.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tokens = tuple[list[Tensor], list[Tensor]]
INITIAL_STD = 0.02  # of all tokens (supplement A)


class RepresentationLearner(nn.Module):
    """The space R and its maps into the towers that have tokens (section 3.2.1), under the release's names."""

    def __init__(self, settings: Any, vision_width: int, text_width: int):
        super().__init__()
        self.compound_rep_tokens = nn.Parameter(torch.empty(settings.n_rep_tokens, settings.rep_dim))
        nn.init.normal_(self.compound_rep_tokens, std=INITIAL_STD)
        depth, variant = len(settings.rep_layers), settings.variant
        vision, text = nn.Linear(settings.rep_dim, vision_width), nn.Linear(settings.rep_dim, text_width)
        self.compound_rep_tokens_r2vproj = _copies(vision, 0 if variant == "wo_V" else depth)
        self.compound_rep_tokens_r2tproj = _copies(text, 0 if variant == "wo_L" else depth)

    def forward(self, dtype: torch.dtype) -> Tokens:
        """Return tokens of layers J..L: images ``[K, d_v]`` each, text ``[K, d_t]`` each."""
        tokens = self.compound_rep_tokens
        vision = [proj(tokens).to(dtype) for proj in self.compound_rep_tokens_r2vproj]
        text = [proj(tokens).to(dtype) for proj in self.compound_rep_tokens_r2tproj]
        return vision, text


class SeparateTokens(nn.Module):
    """w/o RS: tokens of each layer and tower, drawn and learned on their own."""

    def __init__(self, settings: Any, vision_width: int, text_width: int):
        super().__init__()
        self.vision_rep_tokens = _drawn(settings, vision_width)
        self.text_rep_tokens = _drawn(settings, text_width)

    def forward(self, dtype: torch.dtype) -> Tokens:
        """Return tokens of layers J..L: images ``[K, d_v]`` each, text ``[K, d_t]`` each."""
        return [own.to(dtype) for own in self.vision_rep_tokens], [own.to(dtype) for own in self.text_rep_tokens]


class TextToImage(nn.Module):
    """MMRL-dagger: text tokens of each layer, and each layer's map of them into the image tower.

    As in the full model the maps are copies of one draw.
    """

    def __init__(self, settings: Any, vision_width: int, text_width: int):
        super().__init__()
        self.text_rep_tokens = _drawn(settings, text_width)
        self.text_rep_tokens_t2vproj = _copies(nn.Linear(text_width, vision_width), len(settings.rep_layers))

    def forward(self, dtype: torch.dtype) -> Tokens:
        """Return tokens of layers J..L: images ``[K, d_v]`` each, text ``[K, d_t]`` each."""
        pairs = zip(self.text_rep_tokens_t2vproj, self.text_rep_tokens, strict=True)
        return [proj(own).to(dtype) for proj, own in pairs], [own.to(dtype) for own in self.text_rep_tokens]


class RepresentationProjection(nn.Module):
    """P_v^r, the trainable projection of the representation feature (``image_encoder.proj_rep`` in the release)."""

    def __init__(self, vision_width: int, embed_dim: int):
        super().__init__()
        self.proj_rep = nn.Parameter(vision_width**-0.5 * torch.randn(vision_width, embed_dim))


def learner_of(settings: Any, vision_width: int, text_width: int) -> nn.Module:
    """Return a variant's learner at its initial values."""
    kind = {"wo_RS": SeparateTokens, "biased": TextToImage}.get(settings.variant, RepresentationLearner)
    return kind(settings, vision_width, text_width)


def distance(kind: str, features: Tensor, frozen: Tensor) -> Tensor:
    """Return how far unit features ``[N, d]`` are from frozen CLIP's: L_cos of the paper, or another of Table 9.

    l1 and mse are means over all values of the unit features; mse is then 2 / d times cos.
    """
    if kind == "l1":
        return F.l1_loss(features, frozen)
    if kind == "mse":
        return F.mse_loss(features, frozen)
    return 1 - (features * frozen).sum(dim=-1).mean()


def _copies(linear: nn.Linear, count: int) -> nn.ModuleList:
    return nn.ModuleList(copy.deepcopy(linear) for _ in range(count))


def _drawn(settings: Any, width: int) -> nn.ParameterList:
    """Return one ``[K, width]`` per layer, each drawn for itself."""
    shape = (settings.n_rep_tokens, width)
    return nn.ParameterList(nn.Parameter(INITIAL_STD * torch.randn(shape)) for _ in settings.rep_layers)
