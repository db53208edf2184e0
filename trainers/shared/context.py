"""Learned vectors in the place of words: what CoOp and all who build on it do to class prompts.

A class prompt is SOS, M learned vectors ("context"), the class name, a full stop, EOT. The vectors are shared by all
classes or, class-specific (CSC), each class has its own; they stand before the name, around it or after it. In token
ids a learned vector is a negative number (``learned_rows``), so that what classes share is found by looking: with
shared vectors before the name, SOS and context are one prefix for all classes, computed once per step and version.

Official checkpoints hold, beside the vectors, the embeddings of SOS and of all that follows, per class
(``token_prefix``, ``token_suffix``): ``is_class_buffer`` knows them.

Shapes: B versions of the context (1 unless it depends on the image, or there are several prompts per class), C classes,
M context vectors, P + T tokens (``clip.class_prompts``), d_t text width, d joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clip.class_prompts import ClassPrompts
from clip.model import CLIP

from .cosine import at_least_float32, l2_normalize
from .templates import fill, prompt_tokens

INIT_STD = 0.02
MOST_VECTORS = 77 - 4  # beside SOS, a name, a full stop and EOT
_CLASS_BUFFERS = ("token_prefix", "token_suffix", "token_midfix")


@dataclass(frozen=True)
class Context:
    """The text that M learned vectors replace, and where they stand.

    ``text`` has at least M tokens; those after the first M stay words. ``position`` is CLASS_TOKEN_POSITION, the class
    name's; ``per_class`` is CSC. The last vectors start as the embeddings of ``words``, one for each, and any before
    them at zero; without words all are drawn.
    """

    text: str
    length: int
    position: str = "end"
    per_class: bool = False
    words: str = ""

    @classmethod
    def of(cls, words: str, n_ctx: int, position: str = "end", per_class: bool = False) -> Context:
        """Return a context of one vector for each word (underscores are spaces), without words of ``n_ctx`` vectors."""
        found = words.replace("_", " ").split()
        if not found:
            return cls(placeholders(n_ctx), n_ctx, position, per_class)
        return cls(" ".join(found), len(found), position, per_class, " ".join(found))

    def check_words(self, node: str) -> None:
        """Raise ValueError, naming a key of ``node``, where the class name would stand amid a word's tokens."""
        if self.position != "end" and token_counts([self.text]) != [self.length]:
            raise ValueError(
                f"{self.words!r} has words of several tokens, so {node}.CLASS_TOKEN_POSITION {self.position} would cut "
                "the class name: set it to end"
            )


def placeholders(count: int) -> str:
    """Return a text of ``count`` words, each one token. Raises ValueError where they leave no room for a class name."""
    if count > MOST_VECTORS:
        raise ValueError(
            f"N_CTX {count} is too long: with a class name a prompt has at most 77 tokens; {MOST_VECTORS} is the most"
        )
    return " ".join(["X"] * count)


def initial_vectors(clip_model: CLIP, context: Context, classes: int) -> Tensor:
    """Return where the vectors start, in float32: at words' embeddings, or drawn from N(0, 0.02^2) on the CPU.

    ``[M, d_t]``, or ``[C, M, d_t]`` where each class has its own. Under PREC fp16 the official code draws in half
    precision: other values from the same seed.
    """
    width = clip_model.transformer.width
    if context.words:
        count = len(context.words.split())
        vectors = word_vectors(clip_model, context.words, count)
        return torch.cat([vectors.new_zeros(context.length - count, width), vectors])
    shape = (*((classes,) if context.per_class else ()), context.length, width)
    return INIT_STD * torch.randn(shape)


def word_vectors(clip_model: CLIP, words: str, count: int) -> Tensor:
    """Return token embeddings of the first ``count`` tokens of ``words``, ``[count, d_t]`` in float32, a copy."""
    ids = prompt_tokens([words])[0, 1 : 1 + count].to(clip_model.token_embedding.weight.device)
    return clip_model.token_embedding(ids).detach().float().clone()


def learned_rows(tokens: Tensor, name_lengths: Sequence[int], context: Context) -> Tensor:
    """Return token ids ``[C, 77]`` with -1 - j in the place of the j-th learned vector.

    ``tokens``: ids of "SOS context name rest", context first. The name is moved to its place, the rest stays behind.
    The j of class c's own vectors are c M, c M + 1, ...
    """
    m = context.length
    before = {"end": m, "middle": m // 2, "front": 0}[context.position]
    rows = []
    for c, (row, length) in enumerate(zip(tokens.long(), name_lengths, strict=True)):
        first = c * m if context.per_class else 0
        vectors = -1 - torch.arange(first, first + m, device=tokens.device)
        start, name, rest = row[:1], row[1 + m : 1 + m + length], row[1 + m + length :]
        rows.append(torch.cat([start, vectors[:before], name, vectors[before:], rest]))
    return torch.stack(rows)


class ContextPrompts:
    """The text encoder over prompts with learned context.

    Attributes: ``layout`` (``ClassPrompts``; its prefix is SOS and the context where classes share it), ``start``
    ``[1, P + T, d_t]``, the first layer's constant input (positional embeddings alone at learned places), ``places``
    and ``which``: the token places that hold learned vectors, and which vector each holds.

    Args:
        clip_model: frozen CLIP; build under the autocast of the run.
        classnames: C names; underscores are spaces.
        context: what is learned, and where.
        prefix: how many leading tokens to share, as ``ClassPrompts`` takes it.
    """

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], context: Context, prefix: int | None = None):
        self.clip_model, self.context = clip_model, context
        tokens = prompt_tokens(fill(f"{context.text} {{}}.", classnames))
        self._lay_out(learned_rows(tokens, token_counts(fill("{}", classnames)), context), prefix)

    def _lay_out(self, rows: Tensor, prefix: int | None = None) -> None:
        clip_model = self.clip_model
        self.layout = ClassPrompts(rows.to(clip_model.positional_embedding.device), prefix)
        learned = self.layout.ids < 0
        self.places = learned.nonzero()[:, 0]
        self.which = -1 - self.layout.ids[self.places]
        with torch.no_grad():
            words = clip_model.embed_tokens(self.layout.ids.clamp_min(0), self.layout.positions)
            bare = clip_model.positional_embedding[self.layout.positions].to(words.dtype)
            self.start = torch.where(learned[:, None], bare, words)[None]

    def embed(self, ctx: Tensor) -> Tensor:
        """Return the first layer's input ``[B, P + T, d_t]``.

        ``ctx``: ``[M, d_t]`` or ``[B, M, d_t]``; with ``per_class`` ``[C, M, d_t]`` or ``[B, C, M, d_t]``.
        """
        vectors = ctx.flatten(-3, -2) if self.context.per_class else ctx
        vectors = vectors.reshape(-1, *vectors.shape[-2:]).to(self.start.dtype)
        x = self.start.expand(len(vectors), -1, -1)
        return x.index_add(1, self.places, vectors.index_select(1, self.which))

    def raw_features(self, ctx: Tensor) -> Tensor:
        """Return class features ``[B, C, d]``, not normalised, of a context as ``embed`` takes it."""
        return self.read(self.embed(ctx))

    def read(self, x: Tensor) -> Tensor:
        """Return class features ``[B, C, d]``, not normalised, of the first layer's input ``[B, P + T, d_t]``."""
        out = self.layout.run(self.clip_model.transformer.resblocks, x, last=True)
        return self.clip_model.text_to_joint_space(out)

    def features(self, ctx: Tensor) -> Tensor:
        """Return unit class features ``[B, C, d]`` of a context as ``embed`` takes it."""
        return l2_normalize(self.raw_features(ctx))


def token_counts(texts: Sequence[str]) -> list[int]:
    """Return how many tokens each text has, without SOS and EOT."""
    return (prompt_tokens(texts).argmax(dim=1) - 1).tolist()


def clip_text_features(clip_model: CLIP, prompts: Sequence[str]) -> Tensor:
    """Return unit features ``[C, d]`` of one prompt per class by the frozen text tower."""
    return l2_normalize(text_outputs(clip_model, prompts))


@torch.no_grad()
def text_outputs(clip_model: CLIP, prompts: Sequence[str]) -> Tensor:
    """Return the features ``[C, d]`` of ``clip_text_features`` before they are normalised."""
    layout = ClassPrompts(prompt_tokens(prompts).to(clip_model.positional_embedding.device))
    out = layout.run(clip_model.transformer.resblocks, layout.embed(clip_model), last=True)
    return at_least_float32(clip_model.text_to_joint_space(out[0]))


def is_class_buffer(key: str) -> bool:
    """Return whether an official checkpoint's tensor is made of the class names that it was trained on."""
    return key.split(".")[-1] in _CLASS_BUFFERS
