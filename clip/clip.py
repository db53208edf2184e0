"""OpenAI's interface: names of models, loading, preprocessing, tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from .download import _MODELS, _download
from .foreign import ADVICE
from .model import CLIP, build_model
from .shape import OPENAI_IMAGES, Preprocess
from .simple_tokenizer import SimpleTokenizer
from .weights import EMBEDDED, find

__all__ = ["_MODELS", "_download", "available_models", "build_model", "load", "tokenize"]


def available_models() -> list[str]:
    """Return the names that ``load`` knows: OpenAI's nine, and the small model in this package."""
    return [*_MODELS, EMBEDDED]


def load(
    name: str | os.PathLike[str],
    device: str | torch.device | None = None,
    jit: bool = False,
    download_root: str | os.PathLike[str] | None = None,
) -> tuple[CLIP, Callable[[Image.Image], Tensor]]:
    """Load a CLIP model in evaluation mode, and its image preprocessing (PIL image to ``[3, n, n]``).

    Args:
        name: one of ``available_models()``, ``open_clip:ARCH/PRETRAINED``, ``open_clip:ARCH:FILE``, ``hf:OWNER/NAME``,
            or the path of a folder of Hugging Face's or of a weights file, a bare one taken as trained like OpenAI's
            (see ``clip.weights``).
        device: by default CUDA where there is one, else the CPU. Weights are half on CUDA, float32 elsewhere.
        jit: only False is allowed; of OpenAI's traced programs the weights are read, nothing is run.
        download_root: where downloads are kept; by default ``~/.cache/clip``, and where open_clip and huggingface_hub
            keep theirs.

    Preprocessing is the checkpoint's where that is known (OpenAI's models, open_clip's PRETRAINED, Hugging Face's),
    else OpenAI's.

    Raises ValueError for an unknown name, for what is not a CLIP, or ``jit=True``; FileNotFoundError for a missing
    file; RuntimeError or ConnectionError where a download fails.
    """
    if jit:
        raise ValueError("clip.load(jit=True) is not supported: use jit=False, which gives the same features")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    checkpoint = find(name, download_root)
    if checkpoint.foreign:
        raise ValueError(f"{name} is not a CLIP as it is computed here: {checkpoint.foreign}; {ADVICE}")
    model = checkpoint.build(dtype).to(device)
    return model, _transform(model.visual.input_resolution, checkpoint.preprocess or OPENAI_IMAGES)


def tokenize(texts: str | Sequence[str], context_length: int = 77, truncate: bool = False) -> Tensor:
    """Return the token ids ``[n, context_length]`` (int32) of n texts: start, text, end, zeros.

    A longer text raises RuntimeError, or with ``truncate`` loses its end (the end token stays).
    """
    if context_length < 2:
        raise ValueError(f"context_length is {context_length}, but start and end token alone need 2")
    texts = [texts] if isinstance(texts, str) else texts
    tokenizer = _tokenizer()
    start, end = tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]
    ids = torch.zeros(len(texts), context_length, dtype=torch.int)
    for row, text in zip(ids, texts, strict=True):
        tokens = [start, *tokenizer.encode(text), end]
        if len(tokens) > context_length:
            if not truncate:
                raise RuntimeError(f"Input {text} is too long for context length {context_length}")
            tokens = [*tokens[: context_length - 1], end]
        row[: len(tokens)] = torch.tensor(tokens)
    return ids


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


def _transform(n_px: int, preprocess: Preprocess = OPENAI_IMAGES) -> Compose:
    """Return the map of a PIL image to ``[3, n_px, n_px]``, without augmentation."""
    return Compose(
        [
            Resize((n_px, n_px) if preprocess.squash else n_px, InterpolationMode(preprocess.interpolation)),
            CenterCrop(n_px),
            _to_rgb,
            ToTensor(),
            Normalize(preprocess.mean, preprocess.std),
        ]
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")
