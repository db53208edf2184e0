"""From a model's name to its weights file, and to what its tensors do not tell.

Names: OpenAI's (``ViT-B/16``), ``embedded``, open_clip's list (``open_clip:ARCH/PRETRAINED``, such as
``open_clip:ViT-B-16/laion2b_s34b_b88k``), a file of an open_clip architecture (``open_clip:ARCH:FILE``), a model of
Hugging Face's hub (``hf:OWNER/NAME``, ``hf-hub:OWNER/NAME`` of open_clip's) or a folder of one (``hugging_face``,
``open_clip_models``), a file. What files are read: ``state_dict``.

A state dict does not tell its activation, the width of its heads, or the images it was trained on. A bare file is
taken to compute as OpenAI's models do (QuickGELU, heads of 64); ``open_clip:ARCH:FILE`` computes as open_clip's
configuration of ARCH says, and a file with Hugging Face's ``config.json`` beside it as that says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.files import sha256
from common.names import closest

from . import finite, hugging_face, image_text, open_clip_models
from .download import _MODELS, DEFAULT_ROOT, _download
from .model import CLIP, build_model, convert_weights
from .shape import OPENAI, OPENAI_IMAGES, Architecture, Computation, Preprocess, infer_shape
from .state_dict import read_state_dict

EMBEDDED = "embedded"
# Of embedded.safetensors, which holds no checksum of its own.
EMBEDDED_SHA256 = "a9cfb4f708a17a12dd23337a7822e36d543a76309e267be9c1637f8018148c71"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A weights file, and what is known of it beside its tensors.

    ``assumed``: nobody said how the file computes, OpenAI's way is a guess. ``preprocess`` is None where it is not
    known. ``architecture`` and ``shape``: what it is said to be, and the arguments of ``CLIP`` that its tensors must
    fit. ``foreign``, ``config``: as in ``Architecture``.
    """

    path: Path
    computation: Computation = OPENAI
    preprocess: Preprocess | None = None
    assumed: bool = False
    architecture: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict)
    foreign: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def computed(self) -> str:
        """Return how the tensors compute, where that is not OpenAI's way; else ""."""
        if self.foreign:
            return f"open_clip's computation {image_text.digest(self.config)}"
        return "" if self.computation == OPENAI else str(self.computation)

    def build(self, dtype: torch.dtype, projections: bool = True) -> CLIP:
        """Build CLIP from the file, as ``build_model`` does; ``projections`` as in ``convert_weights``.

        A foreign model is an ``ImageTextModel`` in the place of a CLIP. Raises as ``read_state_dict`` and
        ``image_text.build`` do, and ValueError where the tensors are not those of the architecture, or have values
        beyond the range of ``dtype``.
        """
        if self.foreign:
            return image_text.build(self.architecture, self.config, self.path, dtype)
        tensors = read_state_dict(self.path, self.computation)
        found = infer_shape(tensors, self.computation)
        pairs = [(key, found.get(key), value) for key, value in self.shape.items()]
        differs = [f"{key} is {mine}, not {value}" for key, mine, value in pairs if mine != value]
        if differs:
            raise ValueError(f"{self.path} does not hold a {self.architecture}: {'; '.join(differs)}")
        model = build_model(tensors, torch.float32, self.computation)
        if dtype != torch.float32:
            convert_weights(model, dtype, projections)
            problem = finite.describe_nonfinite(model.state_dict())
            if problem:
                raise ValueError(f"{self.path}: in {str(dtype).removeprefix('torch.')}, {problem}: use fp32 or bf16")
        return model


def find(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Return the checkpoint of a name (see the module's text), downloaded into ``root`` if need be.

    Raises FileNotFoundError for a path without a file, ValueError for any other unknown name (with the nearest one)
    or a model that neither CLIP's code nor open_clip computes, RuntimeError or ConnectionError where a download fails.
    """
    name = os.fspath(name)
    if name in _MODELS:
        path = Path(_download(_MODELS[name], DEFAULT_ROOT if root is None else root))
        return Checkpoint(path, preprocess=OPENAI_IMAGES)
    if name == EMBEDDED:
        return Checkpoint(_embedded(Path(__file__).with_name("embedded.safetensors")), preprocess=OPENAI_IMAGES)
    model = open_clip_models.describe(name, root)
    if model is not None:
        if model.foreign:
            image_text.check_packages(model.name, model.config)
        path = open_clip_models.weights(name, root)
        return Checkpoint(
            path, model.computation, model.preprocess, False, model.name, model.shape, model.foreign, model.config
        )
    location = hugging_face.locate(name, root)
    if location is not None:
        model = location.model()
        said = "CLIP as its config.json says"
        return Checkpoint(location.weights(), model.computation, model.preprocess, architecture=said, shape=model.shape)
    path = Path(name).expanduser()
    if path.is_file():
        return Checkpoint(path, assumed=True)
    if path.suffix.lower() in SUFFIXES:
        raise FileNotFoundError(f"there is no weights file {path}")
    known = (*_MODELS, EMBEDDED)
    nearest = closest(name, known)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    models = f"{', '.join(known)}, open_clip:ARCH/PRETRAINED, hf-hub:OWNER/NAME, or hf:OWNER/NAME"
    raise ValueError(f"{name!r} is neither a CLIP model nor a weights file; {hint}Models: {models}")


def _embedded(path: Path) -> Path:
    if not path.is_file() or sha256(path) != EMBEDDED_SHA256:
        raise ValueError(
            f"{path} is damaged or missing: it is not the file that comes with this project; get that again "
            "(git checkout -- clip/embedded.safetensors)"
        )
    return path


def describe(name: str) -> Architecture | None:
    """Return what a model's name, or the configuration that it leads to, says; None where only a file could tell.

    No weights are downloaded. Raises as ``find`` does.
    """
    location = hugging_face.locate(name)
    return open_clip_models.describe(name) or (None if location is None else location.model())


def resolve(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of the checkpoint that ``find`` gives."""
    return find(name, root).path
