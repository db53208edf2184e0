"""Learned tokens in several layers of a frozen tower ("deep prompts"), and what those who use them share.

A tower's *prompts* are J groups of learned tokens, one for each of its first J layers: every group takes the place of
the one before it, and the last one's outputs flow on. So the outputs of a group that another one follows are read by
nobody: its tokens are *kv_tokens* (``clip.layers``), keys and values only, once per batch, as they depend on no sample.
In the image tower they stand behind the patches, without positional embeddings, in the text tower right after SOS; by
causality SOS and they depend on no class.

Shapes: B images, C classes, M patches, J layers with prompts, K tokens each, P + T prompt tokens
(``clip.class_prompts``), d_v, d_t tower widths, d joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clip.class_prompts import ClassPrompts
from clip.layers import for_each
from clip.model import CLIP, VisionTransformer

from ..settings import words_of_deep_text
from .context import INIT_STD, placeholders, word_vectors
from .cosine import l2_normalize
from .templates import fill, prompt_tokens


class DeepText:
    """The text encoder over class prompts whose first K words are learned anew in each of the first layers.

    Args:
        clip_model: frozen CLIP; build under the autocast of the run.
        words: K tokens or more, before each class name.
        classnames: C names; underscores are spaces.
        count: K.
    """

    def __init__(self, clip_model: CLIP, words: str, classnames: Sequence[str], count: int):
        self.clip_model, self.count = clip_model, count
        self.tokens = prompt_tokens(fill(f"{words} {{}}.", classnames))
        self.places = slice(1, 1 + count)
        self.of_all = self._embedded(self.tokens)

    def of(self, classes: Sequence[int]) -> tuple[ClassPrompts, Tensor]:
        """Return layout and first input of some of the classes, to give to ``features``."""
        return self._embedded(self.tokens[list(classes)])

    def features(self, prompts: Sequence[Tensor], of: tuple[ClassPrompts, Tensor] | None = None) -> Tensor:
        """Return unit features ``[C, d]`` of all classes, or of some (``of``), of ``raw_features``' prompts."""
        return l2_normalize(self.raw_features(prompts, of))

    def raw_features(self, prompts: Sequence[Tensor], of: tuple[ClassPrompts, Tensor] | None = None) -> Tensor:
        """Return features ``[C, d]``, not normalised; ``prompts`` are J times ``[K, d_t]``.

        Of J times ``[S, K, d_t]``, versions of them, ``[S, C, d]``. The first group gets the positional embeddings of
        its places, the others none.
        """
        layout, x = of or self.of_all
        if versions := prompts[0].shape[:-2]:
            x = x.expand(*versions, -1, -1)
        blocks = list(self.clip_model.transformer.resblocks)
        for i, block in enumerate(blocks):
            kv_tokens = prompts[i].to(x.dtype) if i < len(prompts) else None
            if i == 0 and kv_tokens is not None:
                kv_tokens = kv_tokens + self.clip_model.positional_embedding[self.places].to(x.dtype)
            last = block is blocks[-1]
            if i == len(prompts) - 1 and not last and kv_tokens is not None:
                x, kv_tokens = torch.cat([x[:, :1], for_each(kv_tokens, x.shape[0]), x[:, 1:]], dim=1), None
            x = layout.layer(block, x, kv_tokens, kv_tokens_at=1, last=last)
        return self.clip_model.text_to_joint_space(x if versions else x[0])

    def _embedded(self, tokens: Tensor) -> tuple[ClassPrompts, Tensor]:
        """Return the layout, and the first layer's input ``[1, P - K + T, d_t]`` without the learned tokens."""
        layout = ClassPrompts(tokens, device=self.clip_model.positional_embedding.device)
        with torch.no_grad():
            x = layout.embed(self.clip_model)
        return layout, torch.cat([x[:, :1], x[:, 1 + self.count :]], dim=1)


class ImageStart:
    """What a prompted and the frozen branch have in common of a batch: the first layer's input, and its projection."""

    def __init__(self, visual: VisionTransformer, images: Tensor):
        self.visual, self.blocks = visual, list(visual.transformer.resblocks)
        with torch.no_grad():
            self.x = visual.embed(images)
            self.projected = self.blocks[0].project(self.x)

    def frozen_feature(self) -> Tensor:
        """Return f_0 ``[B, d]``, of unit length: that of the tower without prompts."""
        with torch.no_grad():
            return self.feature([])

    def feature(self, prompts: Sequence[Tensor]) -> Tensor:
        """Return unit image features ``[B, d]`` of prompts as ``raw_feature`` has them."""
        return l2_normalize(self.raw_feature(prompts))

    def raw_feature(self, prompts: Sequence[Tensor]) -> Tensor:
        """Return features ``[B, d]``, not normalised; prompts are J times ``[K, d_v]``, the first passes ``ln_pre``.

        Or J times ``[S, K, d_v]``, for S equal parts of the images.
        """
        x, blocks = self.x, self.blocks
        for i, block in enumerate(blocks[:-1]):
            kv_tokens = self._prompt(prompts, i)
            if kv_tokens is not None and i == len(prompts) - 1:
                x, kv_tokens = torch.cat([x, for_each(kv_tokens, x.shape[0])], dim=1), None
            x = block.attend(x, *(self.projected if x is self.x else block.project(x)), kv_tokens=kv_tokens)
        out = blocks[-1](x, kv_tokens=self._prompt(prompts, len(blocks) - 1), rows=slice(0, 1))
        return self.visual.to_joint_space(out[:, 0])

    def _prompt(self, prompts: Sequence[Tensor], layer: int) -> Tensor | None:
        if layer >= len(prompts):
            return None
        prompt = prompts[layer].to(self.x.dtype)
        return self.visual.ln_pre(prompt) if layer == 0 else prompt


def initial_context(clip_model: CLIP, ctx_init: str, n_ctx: int, key: str) -> tuple[str, Tensor]:
    """Return the words before each class name, and the first layer's tokens at the start, float32 ``[n_ctx, d_t]``.

    Of ``ctx_init``'s words the first ``n_ctx`` are learned, from their own embeddings, others stay. With more than 4
    tokens, or without words, there are placeholders, and the tokens are drawn from N(0, 0.02^2). Raises ValueError for
    fewer words than tokens, naming ``key``, such as TRAINER.MAPLE.N_CTX, and CTX_INIT beside it.
    """
    words = words_of_deep_text(ctx_init, n_ctx)
    if not words:
        return placeholders(n_ctx), normal_init(n_ctx, clip_model.transformer.width)
    found = int(prompt_tokens([words]).argmax()) - 1
    if found < n_ctx:
        node, _, name = key.rpartition(".")
        raise ValueError(f"{node}.CTX_INIT {ctx_init!r} has {found} tokens, fewer than {name} {n_ctx}")
    return words, word_vectors(clip_model, words, n_ctx)


def normal_init(*shape: int) -> Tensor:
    """Return values of N(0, 0.02^2), drawn on the CPU in float32."""
    return INIT_STD * torch.randn(shape)


def register_parameter_at(module: nn.Module, name: str, value: Tensor) -> nn.Parameter:
    """Make ``value`` a learned tensor of ``module`` under a dotted name, with the modules on the way."""
    path, _, last = name.rpartition(".")
    parameter = nn.Parameter(value)
    module_at(module, path).register_parameter(last, parameter)
    return parameter


def module_at(module: nn.Module, path: str) -> nn.Module:
    """Return the submodule of ``module`` at a dotted path (empty: itself), made with those on the way if missing."""
    for part in path.split(".") if path else ():
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module


def check_vit(clip_model: CLIP, method: str) -> Any:
    """Return the ViT image tower. Raises ValueError for a ResNet."""
    if not isinstance(clip_model.visual, VisionTransformer):
        raise ValueError(
            f"{method} needs a ViT image tower: this backbone is a ResNet; set MODEL.BACKBONE.NAME to ViT-B/16"
        )
    return clip_model.visual


def check_depth(depth: int, layers: int, key: str, tower: str) -> None:
    """Raise ValueError naming ``key`` unless the tower has that many layers."""
    if not 1 <= depth <= layers:
        raise ValueError(f"{key} must be 1 to {layers}, the layers of the {tower} tower, not {depth}")


def is_clip_tensor(key: str, clip_model: CLIP) -> bool:
    """Return whether an official checkpoint of a whole model has frozen CLIP's tensor under this name.

    Such models hold ``image_encoder`` (the image tower), ``text_encoder`` (the rest but the embeddings of words) and
    ``logit_scale``.
    """
    tower, _, name = key.partition(".")
    if tower == "image_encoder":
        return name in clip_model.visual.state_dict()
    of_text = name.split(".")[0] in ("transformer", "positional_embedding", "ln_final", "text_projection")
    return key == "logit_scale" or tower == "text_encoder" and of_text and name in clip_model.state_dict()
