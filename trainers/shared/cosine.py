"""Unit features of frozen CLIP and the logits of their cosines; nothing here is kept in half precision.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clip.layers import no_autocast
from clip.model import CLIP


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 or more: features that enter a loss or a softmax are not kept in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def l2_normalize(features: Tensor) -> Tensor:
    """Return features ``[..., d]`` divided by their L2 norm, at least in float32."""
    return F.normalize(at_least_float32(features), dim=-1)


def frozen_features(clip_model: CLIP, images: Tensor, projected: bool = True) -> Tensor:
    """Return features ``[B, d]`` of the frozen image tower, at least float32, not normalised, without a gradient.

    ``images`` are pixels ``[B, 3, H, W]``, or such features ``[B, d]``, which are returned as they are
    (``cached_features``). ``projected`` False leaves out the tower's projection into the joint space: ``[B, d_v]``.
    """
    if images.dim() == 2:
        return images
    with torch.no_grad():
        encode = clip_model.encode_image if projected else clip_model.visual.before_projection
        return at_least_float32(encode(images))


def clip_image_features(clip_model: CLIP, images: Tensor) -> Tensor:
    """Return unit features ``[B, d]`` of the frozen image tower, for images as ``frozen_features`` takes them."""
    return l2_normalize(frozen_features(clip_model, images))


def release_scale(clip_model: CLIP) -> float:
    """Return 100, which public codes write for CLIP's scale; of another model (``clip.image_text``) its own."""
    return 100.0 if isinstance(clip_model, CLIP) else float(clip_model.logit_scale.exp())


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 - the mean cosine of the rows of unit features ``[N, d]``, a scalar."""
    with no_autocast(a):
        return 1 - (a * b).sum(dim=-1).mean()


def cosine_logits(clip_model: CLIP, f: Tensor, w: Tensor) -> Tensor:
    """Return exp(logit_scale) f w^T ``[B, C]`` of unit features ``[B, d]`` and ``[C, d]``, or ``[B, C, d]``."""
    with no_autocast(f):
        scaled = at_least_float32(clip_model.logit_scale.exp()) * f
        return scaled @ w.t() if w.dim() == 2 else (w @ scaled[:, :, None]).squeeze(2)
