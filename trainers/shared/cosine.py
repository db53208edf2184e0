"""Unit features of frozen CLIP and the logits of their cosines; nothing here is kept in half precision.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clip.layers import no_autocast
from clip.model import CLIP

LEAST_NORM = 1e-12  # that of F.normalize


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 or more: features that enter a loss or a softmax are not kept in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def l2_normalize(features: Tensor) -> Tensor:
    """Return features ``[..., d]`` divided by their L2 norm (at least 1e-12), at least in float32."""
    return _Unit.apply(at_least_float32(features))[0]


class _Unit(torch.autograd.Function):
    """Unit vectors, whose gradient is a third of the operations that torch makes of it: (g - y <y, g>) / norm."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(LEAST_NORM)
        return x / norm, norm

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
        (y, norm), (of_y, of_norm) = ctx.saved_tensors, grads
        found = None if of_norm is None else of_norm * y  # where a gradient has a gradient
        if of_y is not None:
            along = torch.addcmul(of_y, y, (y * of_y).sum(dim=-1, keepdim=True), value=-1) / norm
            found = along if found is None else found + along
        return found


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
