"""Features of ``clip/`` against open_clip's on the same random weights."""

from __future__ import annotations

import open_clip
import pytest
import torch
from open_clip.model import CLIP as OpenClip
from torch import nn

import clip
from clip.shape import OPENAI, Computation

TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
TINY_TOWERS = {
    "ViT": {"image_size": 32, "patch_size": 8, "width": 128, "layers": 3},
    "RN": {"image_size": 64, "layers": (2, 1, 3, 1), "width": 4, "head_width": 64},
    "RN50x4-like": {"image_size": 96, "layers": (1, 2, 2, 1), "width": 10, "head_width": 64},
}
TEXTS = ["", "a photo of a dog.", "🐶 café " * 9, "long " * 200]


def images(count: int, side: int) -> torch.Tensor:
    """Noise over coarse colour patches: white noise alone averages out in deep convolutions."""
    coarse, fine = torch.randn(count, 3, 4, 4), torch.randn(count, 3, side, side)
    return nn.functional.interpolate(coarse, size=side, mode="bilinear") + 0.3 * fine


def randomise(model: nn.Module, side: int) -> None:
    """Values under which every parameter and buffer matters.

    Fresh models have zero biases and dead residual branches, and a ResNet whose batch-norm statistics do not
    fit its activations gives all images the same features.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif parameter.dim() == 1 and name.endswith("weight"):
            parameter.uniform_(0.5, 1.0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        model.train().encode_image(images(4, side))


@torch.no_grad()
def compare(theirs: nn.Module, computation: Computation = OPENAI) -> None:
    side = theirs.visual.image_size
    side = side[0] if isinstance(side, tuple) else side
    randomise(theirs, side)
    theirs.eval()
    weights = {k: v for k, v in theirs.state_dict().items() if k != "attn_mask"}
    ours = clip.build_model(weights, torch.float32, computation)
    pixels, tokens = images(2, side), clip.tokenize(TEXTS, truncate=True)
    pairs = [
        (ours.encode_image(pixels), theirs.encode_image(pixels)),
        (ours.encode_text(tokens), theirs.encode_text(tokens)),
    ]
    for mine, reference in pairs:
        assert (reference[0] - reference[1]).abs().max() > 0.1, "features that hardly vary prove nothing"
        torch.testing.assert_close(mine, reference, atol=1e-4, rtol=0)
    for mine, reference in zip(ours(pixels, tokens), theirs.get_logits(pixels, tokens), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-3, rtol=0)


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize("tower", TINY_TOWERS)
def test_tiny(tower, quick_gelu):
    torch.manual_seed(0)
    compare(OpenClip(32, TINY_TOWERS[tower], TINY_TEXT, quick_gelu), Computation(quick_gelu))


def test_heads_of_other_widths():
    torch.manual_seed(0)
    text = TINY_TEXT | {"width": 96, "heads": 4}
    compare(OpenClip(32, TINY_TOWERS["ViT"] | {"head_width": 32}, text, quick_gelu=True), Computation(True, 32, 24))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-16-quickgelu", "RN50-quickgelu"])
def test_full_size(name):
    torch.manual_seed(0)
    compare(open_clip.create_model(name, pretrained=None))
