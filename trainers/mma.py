"""MMA: Multi-Modal Adapter for Vision-Language Models (Yang, Zhang, Wang and Xie, CVPR 2024).

Beside each of the layers START to END (from 1) of both frozen towers lies an adapter, a path from the layer's input to
its output: down to r, through an r x r map that both towers share, and up again,

    y = s Up(ReLU(Shared(ReLU(Down(LN1(x)))))),

with the layer's own frozen LN1, at every token. Cross-entropy, no other term; one prompt for all data sets,
TEXT_CTX_INIT and the class name; scores are CLIP's cosine logits.

Only in the official code: gradients are rescaled. An adapter's tensors get the gradients they would have if s were 1
(1000 times the loss's, as s is 0.001), and what goes on to x is the loss's own gradient. Here the factor s is left out
on the way back through the output and applied at the input, with no 1 / s in between, so that fp16 overflows later.
Tensors stay float32 in every precision (the official fp16 halves them).

Shapes: B images, C classes, N tokens, P + T prompt tokens (``clip.class_prompts``), r bottleneck, d_v, d_t, d widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.class_prompts import ClassPrompts
from clip.draws import Draw, linear
from clip.layers import ResidualAttentionBlock
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .settings import AdaptedTowersSettings, MMASettings
from .shared.base import CLIPTrainer
from .shared.deep_prompts import check_vit
from .shared.method import DualEncoder, Method
from .shared.official_stream import a_clip, normal
from .shared.templates import fill, prompt_tokens

_CLASS_BUFFERS = ("token_embedding", "tokenized_prompts")


# An adapter's tensors, what both towers share, and LN1(x) ``[..., N, d]`` to y ``[..., N, d]``.
AdapterPath = Callable[[Any, Any, Tensor], Tensor]


def check_towers(settings: AdaptedTowersSettings, clip_model: CLIP, method: str) -> None:
    """Raise ValueError where a tower lacks the layers that have adapters."""
    visual, end = check_vit(clip_model, method), settings.adapter_end
    for tower, layers in (("image", visual.transformer.layers), ("text", clip_model.transformer.layers)):
        if end > layers:
            raise ValueError(f"{settings.key('ADAPTER_END')} is {end}: the {tower} tower has {layers} layers")


class Adapter(nn.Module):
    """Down to r and up again, under the official names."""

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.down = nn.Sequential(nn.Linear(width, dim))
        self.up = nn.Linear(dim, width)


class _Rescaled(torch.autograd.Function):
    """``x`` times a factor, and its gradient times another one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, backward_factor: float) -> Tensor:
        ctx.factor = backward_factor
        return x * factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.factor, None, None


class AdaptedTowers(Method):
    """The adapters of both towers and what they share; ``text_adapter.5`` is that of the text tower's fifth layer."""

    changes_image_feature = True
    method = "MultiModalAdapter"
    zero_biases = True  # at the start

    def __init__(self, clip_model: CLIP, settings: AdaptedTowersSettings):
        super().__init__(clip_model)
        check_towers(settings, clip_model, self.method)
        self.text_adapter, self.visual_adapter, self.shared_adapter = self.learned(settings, clip_model)
        text_blocks = list(clip_model.transformer.resblocks)
        image_blocks = list(clip_model.visual.transformer.resblocks)
        self.lower = lower = settings.adapter_start - 1
        self.text_lower, self.text_upper = text_blocks[:lower], text_blocks[lower:]
        self.image_lower, self.image_upper = image_blocks[:lower], image_blocks[lower:]

    @classmethod
    def learned(cls, settings: AdaptedTowersSettings, clip_model: CLIP) -> tuple[nn.ModuleDict, ...]:
        """Return the adapters of the text, of images, and what they share, drawn in the official order."""
        dim, layers = settings.adapter_dim, range(settings.adapter_start, settings.adapter_end + 1)
        widths = (clip_model.transformer.width, clip_model.visual.width)
        kinds: list[dict[str, Any]] = [{str(layer): Adapter(width, dim) for layer in layers} for width in widths]
        shared = {str(layer): nn.Sequential(nn.Linear(dim, dim)) for layer in layers}
        return tuple(_drawn(modules, cls.zero_biases) for modules in (*kinds, shared))

    @torch.no_grad()
    def frozen_text(self, prompts: ClassPrompts) -> Tensor:
        """Return the input ``[1, P + T, d_t]`` of the first layer with an adapter."""
        return prompts.run(self.text_lower, prompts.embed(self.clip_model))

    @torch.no_grad()
    def frozen_image(self, images: Tensor) -> Tensor:
        """Return the input ``[B, N, d_v]`` of the first layer with an adapter."""
        x = self.clip_model.visual.embed(images)
        for block in self.image_lower:
            x = block(x)
        return x

    def adapted_text(self, prompts: ClassPrompts, x: Tensor, path: AdapterPath) -> Tensor:
        """Return features ``[C, d]``, not normalised, of prompts from ``frozen_text`` on."""
        eot = x.shape[1] - prompts.suffix_tokens + prompts.eot
        for i, block in enumerate(self.text_upper):
            last = block is self.text_upper[-1]
            y = self._adapt(self.text_adapter, i, block, x.index_select(1, eot) if last else x, path)
            out = prompts.layer(block, x, last=last)
            x = out if y is None else out + y
        return self.clip_model.text_to_joint_space(x[0])

    def adapted_image(self, x: Tensor, path: AdapterPath) -> Tensor:
        """Return features ``[B, d]``, not normalised, of images from ``frozen_image`` on."""
        for i, block in enumerate(self.image_upper):
            rows = slice(0, 1) if block is self.image_upper[-1] else None  # at last, the class token alone is read
            y = self._adapt(self.visual_adapter, i, block, x if rows is None else x[:, rows], path)
            out = block(x, rows=rows)
            x = out if y is None else out + y
        return self.clip_model.visual.to_joint_space(x[:, 0])

    def _adapt(
        self, adapters: nn.ModuleDict, i: int, block: ResidualAttentionBlock, x: Tensor, path: AdapterPath
    ) -> Tensor | None:
        """Return y ``[..., N, d]`` of the i-th layer from START on for its input ``x``, or None without an adapter."""
        layer = str(self.lower + 1 + i)
        if layer not in adapters:
            return None
        return path(adapters[layer], self.shared_adapter[layer], block.ln_1(x))


class MMAModel(AdaptedTowers, DualEncoder):
    """MMA's adapters over one prompt per class."""

    def __init__(self, clip_model: CLIP, prompts: Sequence[str], settings: MMASettings):
        super().__init__(clip_model, settings)
        self.scale = settings.adapter_scale
        self.prompts = ClassPrompts(prompt_tokens(prompts).to(clip_model.positional_embedding.device))
        self.text_states = self.frozen_text(self.prompts)  # the same at every step

    def raw_class_features(self) -> Tensor:
        return self.adapted_text(self.prompts, self.text_states, self.path)

    def raw_image_features(self, images: Tensor) -> Tensor:
        return self.adapted_image(self.frozen_image(images), self.path)

    def ignores_checkpoint_key(self, key: str) -> bool:
        return key in _CLASS_BUFFERS

    def path(self, adapter: Any, shared: Any, x: Tensor) -> Tensor:
        """Return y with the official gradients."""
        if x.requires_grad:
            x = _Rescaled.apply(x, 1.0, self.scale)
        hidden = F.relu(linear_in(F.relu(linear_in(x, adapter.down[0])), shared[0]))
        return _Rescaled.apply(linear_in(hidden, adapter.up).to(x.dtype), self.scale, 1.0)


def linear_in(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a layer in the dtype of ``x``."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _drawn(modules: dict[str, Any], zero_biases: bool = True) -> nn.ModuleDict:
    """Register modules with weights from N(0, 2 / fan_out); no map of an adapter starts at zero."""
    found = nn.ModuleDict(modules)
    for module in found.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_biases:
                nn.init.zeros_(module.bias)
    return found


@TRAINER_REGISTRY.register()
class MultiModalAdapter(CLIPTrainer):
    """Trainer of MMA; ``MMA`` is an alias of its name."""

    registered_name = "adapter_learner"
    shape_settings = ("ADAPTER_START", "ADAPTER_END", "ADAPTER_DIM")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> AdaptedTowers:
        settings = cls.settings_of(cfg)
        prompts = fill(f"{settings.text_ctx_init.replace('_', ' ')} {{}}.", classnames)
        return MMAModel(clip_model, prompts, settings)

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield a CLIP; adapters of the text, of images, shared: torch's initial values, then their own weights."""
        yield from a_clip(model)
        for kind in ("text_adapter", "visual_adapter", "shared_adapter"):
            maps = {name: m for name, m in model.named_modules() if name.startswith(kind) and isinstance(m, nn.Linear)}
            for name, one in maps.items():
                weight, bias = linear(name, (one.out_features, one.in_features))
                yield from (weight, bias if model.zero_biases else replace(bias, keep=(bias.name,)))
            for name, one in maps.items():
                yield normal(model, f"{name}.weight", math.sqrt(2.0) / math.sqrt(one.out_features))
