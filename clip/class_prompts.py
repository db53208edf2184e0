"""The text encoder over class prompts: what all classes share is computed once.

All prompts of a data set begin alike (BOT, the template's words before the class name). By causality the hidden states
of that *prefix* depend on no class, in any layer, so they are computed once; each class computes only its *suffix*
(name, what follows, EOT) and attends to the prefix's keys and values, which are not copied for it. Suffixes lie end to
end without padding, sorted by length: the attention among a class's own tokens takes classes of one length at a time,
and pads only where lengths are so close that it hardly costs. An accelerator, where a step waits for launches, takes
all classes at once: up to ``JOINT`` suffix tokens all tokens attend to all in one call, whose mask hides the other
classes, and beyond in one padded group. Tokens after EOT cannot influence it and do not exist.

Shapes: B versions of the prompts (1 unless they depend on the image), C classes, P prefix tokens, T suffix tokens of
all classes together, K key/value-only tokens, M = K + P, d width; a group has G classes of at most S suffix tokens.
Hidden states are flat: ``[B, P + T, d]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import layers
from .layers import Attention, ResidualAttentionBlock, causal_mask, product_dtype
from .model import CLIP

PADDING = 1.25  # of a group's tokens, at most: fewer groups are fewer kernels
JOINT = 1024  # in ViT-B/16's text tower a third more operations, at most
ALIGNED = 8  # columns of a mask that begin anew in memory: what CUDA's kernels ask for, or they copy it


class ClassPrompts:
    """The layout of the tokenised prompts of C classes.

    Attributes ``starts`` and ``eot`` ``[C]`` are the places of a class's first and last suffix token among the T.

    Args:
        tokens: token ids ``[C, L]``, zero-padded, EOT the highest id of each row.
        prefix: how many leading tokens to share; by default all that the classes have in common, EOT excepted.

    Raises ValueError for no class at all, or a prefix that the classes do not share.
    """

    def __init__(self, tokens: Tensor, prefix: int | None = None):
        if tokens.dim() != 2 or len(tokens) == 0:
            raise ValueError("class prompts need token ids [C, L] of at least one class")
        device, eot = tokens.device, tokens.argmax(dim=1)
        shared = _common_prefix(tokens, eot)
        if prefix is not None and not 0 <= prefix <= shared:
            raise ValueError(f"the first {prefix} tokens are not the same in all prompts: only the first {shared} are")
        self.prefix = shared if prefix is None else prefix
        lengths = eot + 1 - self.prefix
        order = lengths.argsort(descending=True, stable=True)
        ends = lengths[order].cumsum(0)
        self.rank = order.argsort()  # [C], where a class stands among the sorted
        self.sorted_eot = ends - 1
        self.eot = self.sorted_eot[self.rank]
        self.starts = self.eot + 1 - lengths
        self.fused = layers.waits_for_launches(device)
        self.joint = self.fused and int(lengths.sum()) <= JOINT
        parts = _close_lengths(lengths[order].tolist(), math.inf if self.fused else PADDING)
        self.groups = [_Group(part, device) for part in parts]
        steps = torch.arange(int(lengths.max()), device=device)
        own = steps < lengths[order, None]
        where = self.prefix + steps.expand_as(own)
        self.positions = torch.cat([torch.arange(self.prefix, device=device), where[own]])  # [P + T]
        suffixes = tokens[order, self.prefix : self.prefix + len(steps)]
        self.ids = torch.cat([tokens[0, : self.prefix], suffixes[own]])
        self._lengths = lengths[order]
        self._masks: dict[tuple[Any, ...], Any] = {}  # the same in all layers and steps: made once

    @property
    def classes(self) -> int:
        """Return C."""
        return len(self.eot)

    @property
    def suffix_tokens(self) -> int:
        """Return T."""
        return len(self.ids) - self.prefix

    def embed(self, clip_model: CLIP) -> Tensor:
        """Return the first layer's input ``[1, P + T, d]``: frozen token embeddings plus positional embeddings."""
        return clip_model.embed_tokens(self.ids, self.positions)[None]

    def layer(
        self,
        block: ResidualAttentionBlock,
        x: Tensor,
        kv_tokens: Tensor | None = None,
        kv_tokens_at: int = 1,
        last: bool = False,
    ) -> Tensor:
        """Return a layer's outputs ``[B, P + T, d]``, or with ``last`` those of EOT alone, ``[B, C, d]``.

        ``kv_tokens`` ``[K, d]`` or ``[B, K, d]`` stand before prefix token ``kv_tokens_at``: that token and all later
        ones attend to them. P is read off ``x``, so a caller may lengthen the prefix (learned tokens) between layers.
        """
        sizes = [x.shape[1] - self.suffix_tokens, self.suffix_tokens]
        if self.joint:
            extra = 0 if kv_tokens is None else kv_tokens.shape[-2]
            rows, joint_mask = self._joint(sizes[0], extra, kv_tokens_at, product_dtype(block.mlp.c_fc.weight))
            return block(x, kv_tokens, rows if last else None, joint_mask)
        normed = block.ln_1(x)
        prefix_kv, suffix_kv = block.attn.keys_values(normed).split(sizes, dim=1)
        shared = prefix_kv
        if kv_tokens is not None:
            seen = block.keys_values(kv_tokens).expand(len(x), -1, -1)
            shared = torch.cat([seen, prefix_kv], dim=1)
        if last:
            asking = normed.split(sizes, dim=1)[1].index_select(1, self.sorted_eot)
            mixed = self._eot_attention(block.attn, block.attn.queries(asking), suffix_kv, shared)
            outputs = block.finish(x.split(sizes, dim=1)[1].index_select(1, self.sorted_eot), mixed)
            return outputs.index_select(1, self.rank)
        prefix_q, suffix_q = block.attn.queries(normed).split(sizes, dim=1)
        mask = self._prefix_mask(sizes[0], shared.shape[1] - sizes[0], kv_tokens_at)
        suffix = self._suffix_attention(block.attn, suffix_q, suffix_kv, shared)
        return block.finish(x, torch.cat([block.attn.mix(prefix_q, shared, mask), *suffix], dim=1))

    def run(
        self,
        blocks: Iterable[ResidualAttentionBlock],
        x: Tensor,
        kv_tokens: Sequence[Tensor | None] | None = None,
        kv_tokens_at: int = 1,
        last: bool = False,
    ) -> Tensor:
        """Run several layers, the i-th with ``kv_tokens[i]``; with ``last`` the final one gives ``[B, C, d]``."""
        blocks = list(blocks)
        for i, block in enumerate(blocks):
            beside = kv_tokens[i] if kv_tokens is not None else None
            x = self.layer(block, x, beside, kv_tokens_at, last=last and i == len(blocks) - 1)
        return x

    def keys_values(self, blocks: Iterable[ResidualAttentionBlock], x: Tensor) -> list[Tensor]:
        """Return what readers see in each layer, ``[B, P + T, 2d]``, for the first layer's input ``x``."""
        found, blocks = [], list(blocks)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            found.append(block.keys_values(x))
            x = x if following is None else self.layer(block, x)
        return found

    def run_readers(self, blocks: Iterable[ResidualAttentionBlock], readers: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """Run readers ``[R, d]``, which all classes share at first, through several layers: ``[C, R, d]``.

        They see every token of their class, neither themselves nor one another, and no token sees them: ``seen[i]``
        ``[1, P + T, 2d]`` are the i-th layer's keys and values (``keys_values``), which do not depend on readers.
        """
        x = readers[None, None]
        tokens, classes = [g.tokens for g in self.groups], [g.classes for g in self.groups]
        for block, kv in zip(blocks, seen, strict=True):
            q = block.attn.queries(block.ln_1(x)).expand(-1, self.classes, -1, -1)
            shared, own = kv.split([kv.shape[1] - self.suffix_tokens, self.suffix_tokens], dim=1)
            parts = zip(self.groups, q.split(classes, dim=1), own.split(tokens, dim=1), strict=True)
            mixed = [self._attend(block.attn, q, g.pad(kv), shared, g.own) for g, q, kv in parts]
            x = block.finish(x, torch.cat(mixed, dim=1))
        return x[0].index_select(0, self.rank)

    def _suffix_attention(self, attn: Attention, q: Tensor, kv: Tensor, shared: Tensor) -> list[Tensor]:
        """Attend from suffix tokens ``[B, T, d]`` to what is shared and their class's own; parts of ``[B, T, d]``."""
        sizes = [group.tokens for group in self.groups]
        parts = zip(self.groups, q.split(sizes, dim=1), kv.split(sizes, dim=1), strict=True)
        return [g.unpad(self._attend(attn, g.pad(q), g.pad(kv), shared, g.causal)) for g, q, kv in parts]

    def _eot_attention(self, attn: Attention, q: Tensor, kv: Tensor, shared: Tensor) -> Tensor:
        """Attend with one query per class, sorted, ``[B, C, d]``, to what is shared and the class's own."""
        tokens, classes = [g.tokens for g in self.groups], [g.classes for g in self.groups]
        parts = zip(self.groups, q.split(classes, dim=1), kv.split(tokens, dim=1), strict=True)
        mixed = [self._attend(attn, q[:, :, None], g.pad(kv), shared, g.own).squeeze(2) for g, q, kv in parts]
        return torch.cat(mixed, dim=1)

    def _attend(self, attn: Attention, q: Tensor, kv: Tensor, shared: Tensor, mask: Tensor | None) -> Tensor:
        attend = _attend_fused if self.fused else _attend
        return attend(attn, q, kv, shared, mask)

    def _prefix_mask(self, prefix: int, extra: int, extra_at: int) -> Tensor:
        """Return ``[P, K + P]``: causal, with the K extra tokens seen from token ``extra_at`` on."""
        key = (prefix, extra, extra_at)
        if key not in self._masks:
            device = self.ids.device
            sees_extra = torch.arange(prefix, device=device)[:, None] >= extra_at
            self._masks[key] = torch.cat([sees_extra.expand(-1, extra), causal_mask(prefix, device)], dim=1)
        return self._masks[key]

    def _joint(self, prefix: int, extra: int, extra_at: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the places of EOT ``[C]`` and the mask ``[N, N + K]`` of all N = P + T tokens, as numbers to add.

        A suffix token sees the prefix, all extra tokens, and itself and what precedes it in its own class.
        """
        key = (prefix, extra, extra_at, dtype)
        if key not in self._masks:
            owner = torch.arange(self.classes, device=self.ids.device).repeat_interleave(self._lengths)
            owner = F.pad(owner, (prefix, 0), value=-1)
            seen = ((owner[:, None] == owner) | (owner < 0)).tril()
            sees_extra = (torch.arange(len(owner), device=owner.device) >= extra_at)[:, None].expand(-1, extra)
            seen = torch.cat([seen, sees_extra], dim=1)
            rows, columns = seen.shape
            mask = seen.new_zeros(rows, math.ceil(columns / ALIGNED) * ALIGNED, dtype=dtype)[:, :columns]
            self._masks[key] = prefix + self.eot, mask.masked_fill_(~seen, float("-inf"))
        return self._masks[key]


class _Group:
    """Classes that stand one after another and have suffixes of nearly one length; sorted, the longest first."""

    def __init__(self, lengths: list[int], device: torch.device):
        self.classes, self.longest, self.tokens = len(lengths), lengths[0], sum(lengths)
        own = torch.arange(self.longest) < torch.tensor(lengths)[:, None]  # [G, S]
        ends = torch.tensor(lengths).cumsum(0)
        # Padding repeats a class's EOT: finite values that no real query sees.
        place = torch.minimum((ends - torch.tensor(lengths))[:, None] + torch.arange(self.longest), ends[:, None] - 1)
        self.even = lengths[0] == lengths[-1]
        self.padded, self.flat = place.flatten().to(device), own.flatten().nonzero()[:, 0].to(device)
        self.own = None if self.even else own[:, None].to(device)  # [G, 1, S]
        self.causal = causal_mask(self.longest, device)  # [S, S]

    def pad(self, x: Tensor) -> Tensor:
        """Pad ``[B, tokens, d]`` to ``[B, G, S, d]``."""
        return (x if self.even else x.index_select(1, self.padded)).unflatten(1, (self.classes, self.longest))

    def unpad(self, x: Tensor) -> Tensor:
        """Take the padding of ``[B, G, S, d]`` away: ``[B, tokens, d]``."""
        return x.flatten(1, 2) if self.even else x.flatten(1, 2).index_select(1, self.flat)


def _attend(attn: Attention, q: Tensor, kv: Tensor, shared: Tensor, mask: Tensor | None) -> Tensor:
    """Attend with queries ``[B, G, R, d]`` to keys and values: shared ``[B, M, 2d]``, own ``[B, G, S, 2d]``.

    One softmax over both. ``mask``, broadcast to ``[G, R, S]``, says which of their own tokens queries see.
    """
    groups, rows = q.shape[1:3]
    q = q.unflatten(-1, (attn.heads, -1)).permute(0, 3, 1, 2, 4) * (attn.width // attn.heads) ** -0.5
    k, v = (t.unflatten(-1, (attn.heads, -1)).permute(0, 3, 1, 2, 4) for t in kv.split(attn.width, dim=-1))
    shared_k, shared_v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in shared.split(attn.width, dim=-1))
    own = q @ k.transpose(-1, -2)  # [B, h, G, R, S]
    if mask is not None:
        own = own.masked_fill(~mask, float("-inf"))
    seen = (q.flatten(2, 3) @ shared_k.transpose(-1, -2)).unflatten(2, (groups, rows))  # [B, h, G, R, M]
    weights = torch.cat([seen, own], dim=-1).softmax(dim=-1).to(q.dtype)
    # The copies are small; without them Inductor (torch 2.15) gives wrong gradients where R is 1.
    of_shared, of_own = (part.contiguous() for part in weights.split([seen.shape[-1], own.shape[-1]], dim=-1))
    mixed = (of_shared.flatten(2, 3) @ shared_v).unflatten(2, (groups, rows)) + of_own @ v
    return mixed.permute(0, 2, 3, 1, 4).flatten(3)


def _attend_fused(attn: Attention, q: Tensor, kv: Tensor, shared: Tensor, mask: Tensor | None) -> Tensor:
    """Attend as ``_attend`` does, in one operation over a copy of what is shared for each class."""
    versions, groups, rows = q.shape[:3]
    seen = torch.cat([shared[:, None].expand(-1, groups, -1, -1), kv], dim=2).flatten(0, 1)
    if mask is not None:
        mask = F.pad(mask, (shared.shape[1], 0), value=True)  # [S, M + S] or [G, 1, M + S]
        if mask.dim() == 3:
            mask = mask[:, None].repeat(versions, 1, 1, 1)
    return attn.mix(q.flatten(0, 1), seen, mask).unflatten(0, (versions, groups))


def _close_lengths(lengths: list[int], padding: float) -> list[list[int]]:
    """Split descending suffix lengths where padding to the first would make a part over ``padding`` times as long."""
    parts: list[list[int]] = []
    for _, run in groupby(lengths):
        equal = list(run)
        joined = parts[-1] + equal if parts else []
        if joined and len(joined) * joined[0] <= padding * sum(joined):
            parts[-1] = joined
        else:
            parts.append(equal)
    return parts


def _common_prefix(tokens: Tensor, eot: Tensor) -> int:
    """Return how many leading tokens all rows of ``[C, L]`` share, before the first EOT of any row."""
    same = (tokens == tokens[0]).all(dim=0).to(torch.int64).cumprod(0).sum()
    return int(torch.minimum(same, eot.min()))
