"""The text encoder over class prompts: what all classes share is computed once.

All prompts of a data set begin alike (BOT, the template's words before the class name). By causality the hidden states
of that *prefix* depend on no class, in any layer, so they are computed once; each class computes only its *suffix*
(name, what follows, EOT) and attends to the prefix's keys and values. Suffixes lie end to end without padding; only the
attention itself works on a padded copy. Tokens after EOT cannot influence it and do not exist here.

Shapes: B versions of the prompts (1 unless they depend on the image), C classes, P prefix tokens, T suffix tokens of
all classes together, S the longest suffix, K context tokens, d width. Hidden states are flat: ``[B, P + T, d]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import ResidualAttentionBlock, causal_mask
from .model import CLIP


class ClassPrompts:
    """The layout of the tokenised prompts of C classes.

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
        longest = int(lengths.max())
        steps = torch.arange(longest, device=device)
        self.own = steps < lengths[:, None]  # [C, S], True where a class has a token
        ends = lengths.cumsum(0)
        self.eot = ends - 1  # [C], place of EOT among the suffix tokens
        # Padding repeats the class's EOT: finite values that no real query sees.
        self.padded = (ends - lengths)[:, None] + torch.minimum(steps, lengths[:, None] - 1)  # [C, S]
        self.flat = self.own.flatten().nonzero()[:, 0]  # [T], place of each suffix token in the padded copy
        where = self.prefix + steps.expand_as(self.own)
        self._masks: dict[tuple[int, ...], Tensor] = {}  # the same in all layers and steps: made once
        self.positions = torch.cat([torch.arange(self.prefix, device=device), where[self.own]])  # [P + T]
        self.ids = torch.cat([tokens[0, : self.prefix], tokens[:, self.prefix :][:, :longest][self.own]])

    @property
    def classes(self) -> int:
        """C."""
        return len(self.eot)

    @property
    def suffix_tokens(self) -> int:
        """T."""
        return len(self.flat)

    def embed(self, clip_model: CLIP) -> Tensor:
        """The first layer's input, ``[1, P + T, d]``: frozen token embeddings plus positional embeddings."""
        return clip_model.embed_tokens(self.ids, self.positions)[None]

    def layer(
        self,
        block: ResidualAttentionBlock,
        x: Tensor,
        context: Tensor | None = None,
        context_at: int = 1,
        last: bool = False,
    ) -> Tensor:
        """One layer: ``[B, P + T, d]`` to the same, or with ``last`` to the EOT outputs alone, ``[B, C, d]``.

        ``context`` ``[K, d]`` or ``[B, K, d]`` stands before prefix token ``context_at``: that token and all later ones
        attend to it. P is read off ``x``, so a caller may lengthen the prefix (learned tokens) between layers.
        """
        batch = len(x)
        prefix = x.shape[1] - self.suffix_tokens
        if last:
            normed = block.ln_1(x)
            x = x[:, prefix:].index_select(1, self.eot)
            q = block.attn.queries(normed[:, prefix:].index_select(1, self.eot))
            kv = block.attn.keys_values(normed)
        else:
            q, kv = block.project(x)
        shared = kv[:, :prefix]
        if context is not None:
            seen = block.context_keys_values(context).expand(batch, -1, -1)
            shared = torch.cat([seen, shared], dim=1)
        suffix = self._suffix_attention(block, q if last else q[:, prefix:], kv[:, prefix:], shared, last)
        if last:
            return block.finish(x, suffix)
        mask = self._prefix_mask(prefix, shared.shape[1] - prefix, context_at)
        mixed = torch.cat([block.attn.mix(q[:, :prefix], shared, mask), suffix], dim=1)
        return block.finish(x, mixed)

    def run(
        self,
        blocks: Iterable[ResidualAttentionBlock],
        x: Tensor,
        contexts: Sequence[Tensor | None] | None = None,
        context_at: int = 1,
        last: bool = False,
    ) -> Tensor:
        """Several layers in turn, ``contexts[i]`` in the i-th; with ``last`` the final one gives ``[B, C, d]``."""
        blocks = list(blocks)
        for i, block in enumerate(blocks):
            context = contexts[i] if contexts is not None else None
            x = self.layer(block, x, context, context_at, last=last and i == len(blocks) - 1)
        return x

    def _suffix_attention(
        self, block: ResidualAttentionBlock, q: Tensor, kv: Tensor, shared: Tensor, last: bool
    ) -> Tensor:
        """Suffix tokens (or EOT alone) attend to the shared keys and their class's own; flat ``[B, T or C, d]``."""
        batch, classes, longest = len(kv), *self.padded.shape
        before = shared.shape[1]
        own = kv.index_select(1, self.padded.flatten()).unflatten(1, (classes, longest))
        keys = torch.cat([shared[:, None].expand(-1, classes, -1, -1), own], dim=2).flatten(0, 1)
        if last:
            mask = self._eot_mask(before).repeat(batch, 1)[:, None, None]
            return block.attn.mix(q.flatten(0, 1)[:, None], keys, mask).view(batch, classes, -1)
        mask = self._suffix_mask(before)
        padded_q = q.index_select(1, self.padded.flatten()).unflatten(1, (classes, longest)).flatten(0, 1)
        mixed = block.attn.mix(padded_q, keys, mask).reshape(batch, classes * longest, -1)
        return mixed.index_select(1, self.flat)

    def _eot_mask(self, before: int) -> Tensor:
        """``[C, before + S]``: EOT sees all that is shared and its class's own tokens."""
        if (before,) not in self._masks:
            self._masks[(before,)] = F.pad(self.own, (before, 0), value=True)
        return self._masks[(before,)]

    def _suffix_mask(self, before: int) -> Tensor:
        """``[S, before + S]``: all that is shared, and causal among a class's own tokens."""
        key = (before, len(self.padded[0]))
        if key not in self._masks:
            self._masks[key] = F.pad(causal_mask(key[1], self.ids.device), (before, 0), value=True)
        return self._masks[key]

    def _prefix_mask(self, prefix: int, context: int, context_at: int) -> Tensor:
        """``[P, K + P]``: causal, the context seen from token ``context_at`` on."""
        key = (prefix, context, context_at)
        if key not in self._masks:
            device = self.ids.device
            sees_context = torch.arange(prefix, device=device)[:, None] >= context_at
            self._masks[key] = torch.cat([sees_context.expand(-1, context), causal_mask(prefix, device)], dim=1)
        return self._masks[key]


def _common_prefix(tokens: Tensor, eot: Tensor) -> int:
    """Leading tokens that all rows of ``[C, L]`` share, before the first EOT of any row."""
    same = (tokens == tokens[0]).all(dim=0).to(torch.int64).cumprod(0).sum()
    return int(torch.minimum(same, eot.min()))
