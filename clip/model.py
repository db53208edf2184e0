"""CLIP (Radford et al., 2021) with OpenAI's API and state-dict keys, its encoders open layer by layer.

Shapes: B images or texts, N tokens, M patches, d_v and d_t tower widths, d joint width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Attention, LayerNorm, Transformer, causal_mask, no_autocast, stream_dtype
from .resnet import ModifiedResNet
from .shape import OPENAI, Computation, check_images, infer_shape

# The first thing a state dict says beside its tensors, in OpenAI's archives.
METADATA_KEYS = ("input_resolution", "context_length", "vocab_size")


class VisionTransformer(nn.Module):
    """CLIP's ViT image tower. ``mlp_width`` is 4 ``width`` unless given."""

    def __init__(
        self,
        input_resolution: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        output_dim: int,
        mlp_width: int | None = None,
        quick_gelu: bool = True,
    ):
        super().__init__()
        self.input_resolution, self.patch_size, self.output_dim = input_resolution, patch_size, output_dim
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size, bias=False)
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        patches = (input_resolution // patch_size) ** 2
        self.positional_embedding = nn.Parameter(scale * torch.randn(patches + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, mlp_width=mlp_width, quick_gelu=quick_gelu)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, output_dim))

    @property
    def width(self) -> int:
        """Return d_v."""
        return self.transformer.width

    def embed(self, images: Tensor) -> Tensor:
        """Turn images ``[B, 3, H, W]`` into the first layer's input ``[B, 1 + M, d_v]``, class token first.

        Raises ValueError where the image size is not the tower's.
        """
        check_images(images, self.input_resolution)
        weights = self.conv1.weight.dtype
        dtype = stream_dtype(weights, images.device)
        x = self.conv1(images.to(weights)).flatten(2).transpose(1, 2).to(dtype)
        cls = self.class_embedding.to(dtype).expand(x.shape[0], 1, -1)
        return self.ln_pre(torch.cat([cls, x], dim=1) + self.positional_embedding.to(dtype))

    def to_joint_space(self, tokens: Tensor) -> Tensor:
        """Apply the final LayerNorm and projection, never in autocast's precision: ``[..., d_v] -> [..., d]``."""
        with no_autocast(tokens):
            return self.ln_post(tokens) @ self.proj

    def class_token(self, images: Tensor, blocks: Sequence[nn.Module] | None = None) -> Tensor:
        """Return the last layer's class token ``[B, d_v]`` of images ``[B, 3, H, W]``; that layer computes no other.

        ``blocks``: layers to run in the place of the tower's own.
        """
        x = self.embed(images)
        blocks = self.transformer.resblocks if blocks is None else blocks
        for block in blocks[:-1]:
            x = block(x)
        return blocks[-1](x, rows=slice(0, 1))[:, 0]

    def before_projection(self, images: Tensor) -> Tensor:
        """Return what the projection is applied to, ``[B, d_v]``, of images ``[B, 3, H, W]``."""
        token = self.class_token(images)
        with no_autocast(token):
            return self.ln_post(token)

    def forward(self, images: Tensor, blocks: Sequence[nn.Module] | None = None) -> Tensor:
        """Encode images ``[B, 3, H, W]``: features ``[B, d]``; ``blocks`` as in ``class_token``."""
        return self.to_joint_space(self.class_token(images, blocks))


class CLIP(nn.Module):
    """CLIP's two towers; ``vision_layers`` is a depth for a ViT, four stage depths for a ResNet.

    Arguments after ``transformer_layers`` are not in OpenAI's class; by default a ViT has heads of width 64, MLPs are
    four times as wide as their tower and the activation is QuickGELU.
    """

    def __init__(
        self,
        embed_dim: int,
        image_resolution: int,
        vision_layers: tuple[int, int, int, int] | int,
        vision_width: int,
        vision_patch_size: int | None,
        context_length: int,
        vocab_size: int,
        transformer_width: int,
        transformer_heads: int,
        transformer_layers: int,
        *,
        vision_heads: int | None = None,
        vision_mlp_width: int | None = None,
        transformer_mlp_width: int | None = None,
        quick_gelu: bool = True,
    ):
        super().__init__()
        self.context_length, self.vocab_size = context_length, vocab_size
        self.visual: Any  # a VisionTransformer or a ModifiedResNet
        if isinstance(vision_layers, tuple):
            heads = vision_width * 32 // 64
            self.visual = ModifiedResNet(vision_layers, embed_dim, heads, image_resolution, vision_width)
        else:
            if vision_patch_size is None:
                raise ValueError("a ViT image tower needs vision_patch_size")
            self.visual = VisionTransformer(
                image_resolution,
                vision_patch_size,
                vision_width,
                vision_layers,
                vision_heads or max(1, vision_width // 64),
                embed_dim,
                vision_mlp_width,
                quick_gelu,
            )
        self.transformer = Transformer(
            transformer_width, transformer_layers, transformer_heads, True, transformer_mlp_width, quick_gelu
        )
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, transformer_width))
        self.ln_final = LayerNorm(transformer_width)
        self.text_projection = nn.Parameter(torch.empty(transformer_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if not self.logit_scale.is_meta:  # where they are replaced at once, even empty draws take time
            self.initialize_parameters()

    def initialize_parameters(self) -> None:
        """Draw initial values for training from scratch (CLIP, section 2.4, and OpenAI's release)."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        width, layers = self.transformer.width, self.transformer.layers
        for block in self.transformer.resblocks:
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the convolution and linear weights."""
        return self.visual.conv1.weight.dtype

    def encode_image(self, image: Tensor) -> Tensor:
        """Encode images ``[B, 3, H, W]``: features ``[B, d]``, not normalised."""
        return self.visual(image.to(self.dtype))

    def embed_text(self, text: Tensor, length: int | None = None) -> Tensor:
        """Turn token ids ``[B, 77]`` into the first layer's input ``[B, length, d_t]`` (default: all positions)."""
        length = text.shape[1] if length is None else length
        return self.embed_tokens(text[:, :length], slice(0, length))

    def embed_tokens(self, ids: Tensor, positions: Tensor | slice) -> Tensor:
        """Return token embeddings of ``ids`` ``[..., N]`` at ``positions`` (slice or ``[N]``): ``[..., N, d_t]``."""
        dtype = stream_dtype(self.dtype, ids.device)
        return self.token_embedding(ids).to(dtype) + self.positional_embedding[positions].to(dtype)

    def text_to_joint_space(self, tokens: Tensor) -> Tensor:
        """Apply the final LayerNorm and projection, never in autocast's precision: ``[..., d_t] -> [..., d]``."""
        with no_autocast(tokens):
            return self.ln_final(tokens) @ self.text_projection

    def encode_text(self, text: Tensor) -> Tensor:
        """Encode token ids ``[B, 77]``: features ``[B, d]``, not normalised. What follows all EOTs is cut off."""
        eot = text.argmax(dim=-1)
        length = int(eot.max()) + 1
        x, mask = self.embed_text(text, length), causal_mask(length, text.device)
        blocks = self.transformer.resblocks
        for block in blocks[:-1]:
            x = block(x, mask=mask)
        return self.text_to_joint_space(blocks[-1](x, rows=eot[:, None], mask=mask)[:, 0])

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits per image ``[B, C]`` and per text ``[C, B]``."""
        image_features = nn.functional.normalize(self.encode_image(image), dim=1)
        text_features = nn.functional.normalize(self.encode_text(text), dim=1)
        logits = self.logit_scale.exp() * image_features @ text_features.t()
        return logits, logits.t()


def convert_weights(model: nn.Module, dtype: torch.dtype = torch.float16, projections: bool = True) -> None:
    """Cast convolution, linear and attention weights; LayerNorms, embeddings and the logit scale stay as they are.

    The towers' final projections are cast too, as in OpenAI's function, unless ``projections`` is False (under autocast
    they work in float32).
    """
    for module in model.modules():
        names: tuple[str, ...] = ()
        if isinstance(module, nn.Conv2d | nn.Linear):
            names = ("weight", "bias")
        elif isinstance(module, Attention):
            names = ("in_proj_weight", "in_proj_bias")
        elif projections and isinstance(module, VisionTransformer):
            names = ("proj",)
        elif projections and isinstance(module, CLIP):
            names = ("text_projection",)
        for name in names:
            tensor = getattr(module, name)
            if tensor is not None:
                tensor.data = tensor.data.to(dtype)


def build_model(
    state_dict: Mapping[str, Tensor], dtype: torch.dtype = torch.float16, computation: Computation = OPENAI
) -> CLIP:
    """Build CLIP from a state dict under OpenAI's names, all sizes inferred, in evaluation mode.

    ``dtype`` is that of convolution, linear and projection weights: half as in OpenAI's own function; float32 keeps
    every value exact. Raises ValueError naming what is missing, unexpected or of the wrong shape.
    """
    tensors = {
        k: v.detach().to(torch.float32 if v.is_floating_point() else v.dtype, copy=True)
        for k, v in state_dict.items()
        if k not in METADATA_KEYS
    }
    shape = infer_shape(tensors, computation)
    with torch.device("meta"):  # no time for initial values that are replaced at once
        model = CLIP(**shape)
    check_keys(shapes_of_clip(**shape), tensors)
    model.load_state_dict(tensors, assign=True)
    if dtype != torch.float32:
        convert_weights(model, dtype)
    return model.eval()


@lru_cache(maxsize=16)
def shapes_of_clip(**shape: Any) -> dict[str, list[int]]:
    """Return the shapes of ``CLIP(**shape)``'s tensors by name. Raises what ``CLIP`` does where there is none."""
    with torch.device("meta"):
        return shapes_of(CLIP(**shape))


def shapes_of(model: nn.Module) -> dict[str, list[int]]:
    """Return the shapes of a model's tensors by name."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def check_keys(wanted: Mapping[str, list[int]], tensors: Mapping[str, Tensor], kind: str = "CLIP") -> None:
    """Raise ValueError naming the tensors that are missing, unexpected or not of the shape ``wanted`` has."""
    problems = [f"{k} is missing" for k in wanted if k not in tensors]
    problems += [f"{k} is unexpected" for k in tensors if k not in wanted]
    problems += [
        f"{k} is {list(tensors[k].shape)}, not {sizes}"
        for k, sizes in wanted.items()
        if k in tensors and list(tensors[k].shape) != sizes
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"these weights do not make a {kind}: {'; '.join(problems[:3])}{more}")
