"""CLIP, plainly: every token through every layer, ``nn.MultiheadAttention``, 77 text positions for every class.

Written from the equations (paper, section 3.1) and sharing no code with the project's encoders. It is as fast as public
code that does the same: the layers work sequence-first, as that code does, and constants are computed once.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainBlock(nn.Module):
    """x + MHA(LN(x)), then x + MLP(LN(x)) with x sigmoid(1.702 x), or GELU, between the MLP's two layers."""

    def __init__(self, weights: dict[str, Tensor], prefix: str, head_width: int = 64, quick_gelu: bool = True):
        super().__init__()
        hidden, width = weights[f"{prefix}mlp.c_fc.weight"].shape
        self.quick_gelu = quick_gelu
        self.attn = nn.MultiheadAttention(width, width // head_width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})
        self.to(weights[f"{prefix}ln_1.weight"].dtype)
        own = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
        self.load_state_dict(own)
        self.requires_grad_(False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``[B, N, d] -> [B, N, d]``; additive mask ``[N, N]``.

        Within, tokens are ``[N, B, d]``: with ``batch_first`` torch multiplies batch by batch, in twice the time.
        """
        x = x.transpose(0, 1)
        y = self.ln_1(x)
        return self.feed_forward(x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]).transpose(0, 1)

    def feed_forward(self, x: Tensor) -> Tensor:
        """x + MLP(LN(x))."""
        hidden = self.mlp["c_fc"](self.ln_2(x))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick_gelu else F.gelu(hidden)
        return x + self.mlp["c_proj"](hidden)


class PlainCLIP(nn.Module):
    """Both towers from a state dict under OpenAI's names; ``head_width`` is the image tower's, of text it is 64."""

    def __init__(self, weights: dict[str, Tensor], head_width: int = 64, quick_gelu: bool = True):
        super().__init__()
        self.weights = weights
        causal(1, weights["positional_embedding"])  # made here, not in a step
        self.image_blocks = self._blocks("visual.transformer.resblocks.", head_width, quick_gelu)
        self.text_blocks = self._blocks("transformer.resblocks.", 64, quick_gelu)

    def _blocks(self, prefix: str, head_width: int, quick_gelu: bool) -> nn.ModuleList:
        own = {name.removeprefix(prefix).split(".")[0] for name in self.weights if name.startswith(prefix)}
        blocks = (PlainBlock(self.weights, f"{prefix}{i}.", head_width, quick_gelu) for i in range(len(own)))
        return nn.ModuleList(blocks)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """A named LayerNorm."""
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def embed_images(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W] -> [B, 1 + M, d_v]``."""
        w = self.weights
        kernel = w["visual.conv1.weight"]
        patches = F.conv2d(images, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        cls = w["visual.class_embedding"].expand(len(images), 1, -1)
        return self.norm("visual.ln_pre", torch.cat([cls, patches], dim=1) + w["visual.positional_embedding"])

    def embed_text(self, tokens: Tensor) -> Tensor:
        """``[C, 77] -> [C, 77, d_t]``."""
        return self.weights["token_embedding.weight"][tokens] + self.weights["positional_embedding"]

    def image_feature(self, images: Tensor) -> Tensor:
        """f_0 ``[B, d]``, of unit length."""
        return self.unit(self.raw_image_feature(images))

    def raw_image_feature(self, images: Tensor) -> Tensor:
        """``[B, d]`` as the tower gives it, not normalised."""
        return self.before_projection(images) @ self.weights["visual.proj"]

    def before_projection(self, images: Tensor) -> Tensor:
        """``[B, d_v]``: the class token after the last layer's norm."""
        x = self.embed_images(images)
        for block in self.image_blocks:
            x = block(x)
        return self.norm("visual.ln_post", x[:, 0])

    def text_feature(self, tokens: Tensor) -> Tensor:
        """w_0 ``[C, d]``, of unit length."""
        return self.unit(self.raw_text_feature(tokens))

    def raw_text_feature(self, tokens: Tensor) -> Tensor:
        """``[C, d]`` as the tower gives it, not normalised."""
        x = self.embed_text(tokens)
        mask = causal(x.shape[1], x)
        for block in self.text_blocks:
            x = block(x, mask)
        return self.project_text(x, tokens.argmax(dim=-1))

    def read_text(self, x: Tensor, eot: Tensor) -> Tensor:
        """Features at the EOT places ``[C]``, of unit length."""
        return self.unit(self.project_text(x, eot))

    def unit(self, features: Tensor) -> Tensor:
        """Features ``[..., d]`` of unit length."""
        return F.normalize(features, dim=-1)

    def project_text(self, x: Tensor, eot: Tensor) -> Tensor:
        """Features ``[C, d]`` at the EOT places ``[C]``, not normalised."""
        return self.norm("ln_final", x[torch.arange(len(x)), eot]) @ self.weights["text_projection"]


def causal(length: int, like: Tensor) -> Tensor:
    """Additive causal mask ``[N, N]``."""
    return _longest_causal(like.dtype, like.device)[:length, :length]


@lru_cache(maxsize=8)
def _longest_causal(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((256, 256), float("-inf"), dtype=dtype, device=device).triu(1)  # 77 tokens, and learned ones
