"""CLIP's ResNet image tower (Radford et al., 2021, section 2.4), under OpenAI's state-dict keys.

It differs from the usual ResNet in three ways: a stem of three convolutions with average pooling (ResNet-D,
He et al., 2019), an average pool in place of each stride (anti-aliasing, Zhang, 2019), and attention in place
of the final pooling.

Shapes: B images, C channels, H x W positions, w the width of the first stage.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shape import check_images


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut, all of stride 1; an average pool does the striding.

    ``[B, inplanes, H, W] -> [B, 4 planes, H / stride, W / stride]``.
    """

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1):
        super().__init__()
        outplanes = planes * self.expansion
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, outplanes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outplanes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inplanes != outplanes:
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("-1", nn.AvgPool2d(stride)),  # no parameters: the keys "0" and "1" are OpenAI's
                        ("0", nn.Conv2d(inplanes, outplanes, 1, bias=False)),
                        ("1", nn.BatchNorm2d(outplanes)),
                    ]
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        return self.relu(out + self.downsample(x))


class AttentionPool2d(nn.Module):
    """Multi-head attention whose one query is the mean over positions. ``[B, C, H, W] -> [B, output_dim]``."""

    def __init__(self, spacial_dim: int, embed_dim: int, num_heads: int, output_dim: int | None = None):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"attention width {embed_dim} is not a multiple of its {num_heads} heads")
        self.positional_embedding = nn.Parameter(torch.randn(spacial_dim**2 + 1, embed_dim) / embed_dim**0.5)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.c_proj = nn.Linear(embed_dim, output_dim or embed_dim)
        self.num_heads = num_heads

    def pool(self, x: Tensor) -> Tensor:
        """Return the mean's output ``[B, C]``, which ``c_proj`` is applied to."""
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        # Only the mean's output is read, so only the mean has a query.
        q, k, v = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.pool(x))


class ModifiedResNet(nn.Module):
    """CLIP's ResNet over images of a side that is a multiple of 32; its attention pool has width 32 w."""

    def __init__(
        self, layers: Sequence[int], output_dim: int, heads: int, input_resolution: int = 224, width: int = 64
    ):
        super().__init__()
        self.output_dim, self.input_resolution = output_dim, input_resolution
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, layers[0])
        self.layer2 = _stage(4 * width, 2 * width, layers[1], stride=2)
        self.layer3 = _stage(8 * width, 4 * width, layers[2], stride=2)
        self.layer4 = _stage(16 * width, 8 * width, layers[3], stride=2)
        self.attnpool = AttentionPool2d(input_resolution // 32, 32 * width, heads, output_dim)

    def stem(self, x: Tensor) -> Tensor:
        """Compute the first maps ``[B, w, H / 4, W / 4]`` of images ``[B, 3, H, W]``."""
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.relu(norm(conv(x)))
        return self.avgpool(x)

    def last_maps(self, images: Tensor) -> Tensor:
        """Compute the last maps ``[B, 32 w, H / 32, W / 32]`` of images ``[B, 3, H, W]``."""
        check_images(images, self.input_resolution)
        x = self.stem(images.to(self.conv1.weight.dtype))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x

    def before_projection(self, images: Tensor) -> Tensor:
        """Return what the projection ``attnpool.c_proj`` is applied to, ``[B, 32 w]``, of images ``[B, 3, H, W]``."""
        return self.attnpool.pool(self.last_maps(images))

    def forward(self, x: Tensor) -> Tensor:
        """Encode images ``[B, 3, H, W]``: ``[B, output_dim]``. Raises ValueError for another image size."""
        return self.attnpool(self.last_maps(x))


def _stage(inplanes: int, planes: int, blocks: int, stride: int = 1) -> nn.Sequential:
    outplanes = planes * Bottleneck.expansion
    rest = (Bottleneck(outplanes, planes) for _ in range(1, blocks))
    return nn.Sequential(Bottleneck(inplanes, planes, stride), *rest)
