"""Transformer layers with one open primitive.

Shapes: B samples, N tokens, K key/value-only tokens, R rows, d width, h heads.

A block is applied to *tokens* ``[B, N, d]``, whose outputs someone reads, and optionally to

- *kv_tokens* ``[K, d]`` or ``[S, K, d]``: tokens that are attended to but whose own outputs nobody reads. They need a
  LayerNorm and the key/value projection only, and once where samples share them: all do, or each S-th of the batch;
- *rows*: the tokens whose outputs are wanted; all others give keys and values only;
- *mask* ``[N, N + K]``: which tokens and key/value-only tokens (columns) a token (row) attends to, True where it may,
  or as numbers that are added to scores.
"""

from __future__ import annotations

import contextlib
import copy
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frozen import frozen_mlp

Rows = slice | Tensor


def waits_for_launches(device: torch.device) -> bool:
    """Return whether a small step takes as long as it has kernels to launch: on all but a CPU, whose cost is work."""
    return device.type != "cpu"


class LayerNorm(nn.LayerNorm):
    """LayerNorm with statistics in float32; the output has the input's dtype. ``[..., d] -> [..., d]``."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if x.dtype == weight.dtype:
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        wide = F.layer_norm(x.to(weight.dtype), self.normalized_shape, weight, bias, self.eps)
        return wide.to(x.dtype)


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the activation of OpenAI's CLIP. Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head attention with the state-dict keys of ``nn.MultiheadAttention`` and its projections in reach."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} is not a multiple of its {heads} heads")
        self.width, self.heads = width, heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def queries(self, x: Tensor) -> Tensor:
        """Return queries ``[..., d]`` of normalised tokens ``[..., d]``."""
        return F.linear(x, self.in_proj_weight[: self.width], self.in_proj_bias[: self.width])

    def keys_values(self, x: Tensor) -> Tensor:
        """Return keys and values ``[..., 2d]``, keys first, of normalised tokens ``[..., d]``."""
        return F.linear(x, self.in_proj_weight[self.width :], self.in_proj_bias[self.width :])

    def mix(self, q: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend with queries ``[B, R, d]`` to keys and values ``[B, M, 2d]``; mask ``[R, M]`` or ``[B, 1, R, M]``.

        Returns ``[B, R, d]``, before the output projection.
        """
        k, v = kv.split(self.width, dim=-1)
        return self.mix_parts(q, k, v, mask)

    def mix_all(self, x: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
        """Attend with the first ``count`` (R) of normalised tokens ``[B, M, d]`` to all of them, as ``mix`` does."""
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).split(self.width, dim=-1)
        return self.mix_parts(q if count == q.shape[1] else q[:, :count], k, v, mask)

    def mix_parts(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend as ``mix`` does, with keys and values ``[B, M, d]`` apart."""
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

    def mix_few(self, q: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend with few queries ``[B, R, d]`` to tokens ``[B, M, d]`` without projecting these to keys and values.

        Per head, q (W_k x + b_k) = (W_k' q) x + const, and the constant falls out of the softmax; values are averaged
        before W_v is applied, not after. Cost 4 R d (d + h M) instead of 4 M d^2. Mask ``[R, M]`` or ``[B, R, M]``.
        """
        rows, (_, w_k, w_v) = q.shape[1], self.in_proj_weight.unflatten(0, (3, self.heads, -1))
        q = q.unflatten(-1, (self.heads, -1)) * (self.width // self.heads) ** -0.5
        reach = torch.einsum("brhc,hcd->brhd", q, w_k.to(q.dtype)).flatten(1, 2)
        scores = (reach @ seen.to(q.dtype).transpose(1, 2)).unflatten(1, (rows, self.heads))
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(-2), float("-inf"))
        weights = scores.softmax(dim=-1).to(q.dtype).flatten(1, 2)
        mean = (weights @ seen.to(q.dtype)).unflatten(1, (rows, self.heads))
        mixed = torch.einsum("brhd,hcd->brhc", mean, w_v.to(q.dtype)).flatten(2)
        return mixed + self.in_proj_bias[-self.width :].to(q.dtype)


class ResidualAttentionBlock(nn.Module):
    """One pre-norm transformer layer; see the module's text for tokens, kv_tokens, rows and mask."""

    def __init__(self, d_model: int, n_head: int, mlp_width: int | None = None, quick_gelu: bool = True):
        super().__init__()
        self.attn = Attention(d_model, n_head)
        self.ln_1 = LayerNorm(d_model)
        hidden = 4 * d_model if mlp_width is None else mlp_width
        activation = QuickGELU() if quick_gelu else nn.GELU()
        self.mlp: Any = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(d_model, hidden), gelu=activation, c_proj=nn.Linear(hidden, d_model))
        )
        self.ln_2 = LayerNorm(d_model)

    def with_modules(self, **modules: nn.Module) -> ResidualAttentionBlock:
        """Return a block that differs from this one by these modules alone, and has all others in common."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, **modules}
        return twin

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Do what follows the attention: output projection, residuals, MLP. ``x`` and ``mixed`` are ``[..., d]``."""
        x = x + self.attn.out_proj(mixed)
        return x + self.feed_forward(self.ln_2(x))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Apply the MLP, ``[..., d] -> [..., d]``."""
        c_fc, activation, c_proj = self.mlp
        if c_fc.weight.requires_grad:
            return self.mlp(x)
        quick = isinstance(activation, QuickGELU)
        return frozen_mlp(x, c_fc.weight, c_fc.bias, c_proj.weight, c_proj.bias, quick)

    def keys_values(self, x: Tensor) -> Tensor:
        """Return keys and values ``[..., K, 2d]`` of tokens ``[..., K, d]``, which pass the LayerNorm here."""
        return self.attn.keys_values(self.ln_1(x))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries ``[B, N, d]``, and keys and values ``[B, N, 2d]``, of tokens ``[B, N, d]``."""
        normed = self.ln_1(x)
        return self.attn.queries(normed), self.attn.keys_values(normed)

    def attend(self, x: Tensor, q: Tensor, kv: Tensor, kv_tokens: Tensor | None = None) -> Tensor:
        """Run the layer from its projections (``project``) on: outputs of all tokens, ``[B, N, d]``."""
        if kv_tokens is not None:
            kv = torch.cat([kv, for_each(self.keys_values(kv_tokens), kv.shape[0])], dim=1)
        return self.finish(x, self.attn.mix(q, kv))

    def forward(
        self, x: Tensor, kv_tokens: Tensor | None = None, rows: Rows | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return the outputs of all tokens ``[B, N, d]``, or of ``rows`` ``[B, R, d]`` (``take_rows``), a few.

        Columns of ``mask`` are the tokens followed by ``kv_tokens``; with ``rows`` it is one of bools.
        """
        seen = x
        if kv_tokens is not None:
            seen = torch.cat([x, for_each(kv_tokens, x.shape[0])], dim=1)
        normed = self.ln_1(seen)
        if rows is None:
            return self.finish(x, self.attn.mix_all(normed, x.shape[1], mask))
        q = self.attn.queries(take_rows(normed, rows))
        if mask is not None:
            mask = mask[rows]  # [R, N + K] or [B, R, N + K]
        if waits_for_launches(x.device):
            mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
            mixed = self.attn.mix(q, self.attn.keys_values(normed), mask)
        else:
            mixed = self.attn.mix_few(q, normed, mask)
        return self.finish(take_rows(x, rows), mixed)


class Transformer(nn.Module):
    """A stack of blocks. Called as a module it is sequence-first, ``[N, B, d] -> [N, B, d]``, as OpenAI's is."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        causal: bool = False,
        mlp_width: int | None = None,
        quick_gelu: bool = True,
    ):
        super().__init__()
        self.width, self.layers, self.causal = width, layers, causal
        blocks = (ResidualAttentionBlock(width, heads, mlp_width, quick_gelu) for _ in range(layers))
        self.resblocks: Any = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        mask = causal_mask(len(x), x.device) if self.causal else None
        x = x.transpose(0, 1)
        for block in self.resblocks:
            x = block(x, mask=mask)
        return x.transpose(0, 1)


def for_each(tokens: Tensor, count: int) -> Tensor:
    """Return ``[K, d]``, or ``[S, K, d]`` of S equal parts of a batch, for each of its samples: ``[count, K, d]``.

    Callers give ``x.shape[0]`` as the count: ``len(x)`` would fix an exported program's batch.
    """
    if tokens.dim() == 2 or tokens.shape[0] == 1:
        return tokens.expand(count, *tokens.shape[-2:])
    return tokens[:, None].expand(-1, count // tokens.shape[0], -1, -1).flatten(0, 1)


def take_rows(x: Tensor, rows: Rows) -> Tensor:
    """Select tokens ``[B, R, d]`` of ``[B, N, d]``: a slice, indices for all samples ``[R]`` or for each ``[B, R]``."""
    if isinstance(rows, slice):
        return x[:, rows]
    return x.index_select(1, rows) if rows.dim() == 1 else x[torch.arange(len(x), device=x.device)[:, None], rows]


def causal_mask(length: int, device: torch.device | str | None = None) -> Tensor:
    """Return ``[N, N]``, True where a token may attend: to itself and what precedes it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def stream_dtype(weights: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype of hidden states between layers: float32 under autocast, else the linear weights'."""
    has_autocast = torch.amp.is_autocast_available(device.type)
    return torch.float32 if has_autocast and torch.is_autocast_enabled(device.type) else weights


def product_dtype(weights: Tensor) -> torch.dtype:
    """Return the dtype of products with ``weights``: under autocast its own, else theirs."""
    kind = weights.device.type
    active = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if active else weights.dtype


def no_autocast(like: Tensor) -> contextlib.AbstractContextManager:
    """Return a region without autocast on ``like``'s device, for features that enter a loss or a softmax."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else contextlib.nullcontext()
