"""OpenAI's interface: names, loading and preprocessing."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import torch
from open_clip.pretrained import get_pretrained_url
from PIL import Image
from safetensors.torch import save_file

import clip
import clip.clip
from clip.clip import _transform
from clip.model import CLIP

OFFICIAL = "RN50 RN101 RN50x4 RN50x16 RN50x64 ViT-B/32 ViT-B/16 ViT-L/14 ViT-L/14@336px".split()
SIGNATURES = {
    "available_models": [],
    "load": ["name", "device", "jit", "download_root"],
    "tokenize": ["texts", "context_length", "truncate"],
    "_download": ["url", "root"],
    "build_model": ["state_dict"],
}


@pytest.fixture
def weights_file(tmp_path):
    model = CLIP(16, 32, 2, 64, 8, 77, 100, 64, 1, 2)
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("module", [clip, clip.clip])
@pytest.mark.parametrize("name", SIGNATURES)
def test_functions_are_found_both_ways(module, name):
    names = list(inspect.signature(getattr(module, name)).parameters)
    assert names[: len(SIGNATURES[name])] == SIGNATURES[name]
    assert module._MODELS is clip.clip._MODELS


def test_available_models():
    assert clip.available_models() == [*OFFICIAL, "embedded"]


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_addresses(name):
    url = clip._MODELS[name]
    assert re.fullmatch(r"https://openaipublic\.azureedge\.net/clip/models/[0-9a-f]{64}/[\w-]+\.pt", url)
    assert url == get_pretrained_url(name.replace("/", "-").replace("@", "-").removesuffix("px"), "openai")


def test_load_gives_float32_on_the_cpu_in_evaluation_mode(weights_file):
    model, preprocess = clip.load(str(weights_file), device="cpu")
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
    image = preprocess(Image.new("L", (50, 40)))
    assert image.shape == (3, 32, 32)
    assert model.encode_image(image[None]).shape == (1, 16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_load_gives_half_on_cuda(weights_file):
    exact, _ = clip.load(weights_file, device="cpu")
    half, _ = clip.load(weights_file)
    assert half.dtype == torch.float16 and half.visual.conv1.weight.is_cuda
    images, texts = torch.randn(2, 3, 32, 32), torch.tensor([[98, 5, 99, 0], [98, 99, 0, 0]])
    with torch.no_grad():
        for a, b in zip(half(images.cuda(), texts.cuda()), exact(images, texts), strict=True):
            torch.testing.assert_close(a.float().cpu(), b, atol=0.1, rtol=0)


def test_load_refuses_jit(weights_file):
    with pytest.raises(ValueError, match="jit=False"):
        clip.load(weights_file, device="cpu", jit=True)


@pytest.mark.parametrize(("size", "box"), [((50, 80), (0, 10)), ((80, 50), (10, 0)), ((32, 32), (0, 0))])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_preprocessing_follows_openai(size, box, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert(mode)
    scale = 32 / min(size)
    resized = image.resize((int(size[0] * scale), int(size[1] * scale)), Image.Resampling.BICUBIC)
    crop = resized.crop((*box, box[0] + 32, box[1] + 32)).convert("RGB")
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    expected = (np.asarray(crop, dtype=np.float64) / 255 - mean) / std
    np.testing.assert_allclose(_transform(32)(image).numpy(), expected.transpose(2, 0, 1), atol=1e-5)
