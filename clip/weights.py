"""From a model's name to its state dict under OpenAI's keys, and to what its tensors do not tell.

Names: OpenAI's (``ViT-B/16``), ``embedded``, open_clip's list (``open_clip:ARCH/PRETRAINED``, such as
``open_clip:ViT-B-16/laion2b_s34b_b88k``), a file of an open_clip architecture (``open_clip:ARCH:FILE``), a file.

Files that are read: OpenAI's TorchScript archives, state dicts saved by ``torch.save`` (bare or under
``state_dict``), safetensors, and open_clip checkpoints of the same architecture. The kind is seen from the
content, not from the suffix. Nothing here unpickles objects.

A state dict does not tell its activation, the width of its heads, or the images it was trained on. A bare file is
taken to compute as OpenAI's models do (QuickGELU, heads of 64); ``open_clip:ARCH:FILE`` computes as open_clip's
configuration of ARCH says.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import open_clip_models
from .archives import UNREADABLE, is_torchscript, read_saved, read_torchscript
from .download import _MODELS, DEFAULT_ROOT, _download, _sha256
from .model import CLIP, METADATA_KEYS, build_model, check_keys
from .shape import OPENAI, OPENAI_IMAGES, Computation, Preprocess, infer_shape

EMBEDDED = "embedded"
VOCABULARY_SIZE = 49408
# Of embedded.safetensors, which holds no checksum of its own.
EMBEDDED_SHA256 = "a9cfb4f708a17a12dd23337a7822e36d543a76309e267be9c1637f8018148c71"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A weights file, and what is known of it beside its tensors.

    ``assumed``: nobody said how the file computes, OpenAI's way is a guess. ``preprocess`` is None where it is not
    known. ``architecture`` and ``shape``: open_clip's name, and the arguments of ``CLIP`` that the tensors must fit.
    """

    path: Path
    computation: Computation = OPENAI
    preprocess: Preprocess | None = None
    assumed: bool = False
    architecture: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict)

    def build(self, dtype: torch.dtype) -> CLIP:
        """CLIP from the file, as ``build_model`` does. Raises as ``read_state_dict`` does, and ValueError where
        the tensors are not those of the architecture.
        """
        tensors = read_state_dict(self.path, self.computation)
        found = infer_shape(tensors, self.computation)
        pairs = [(key, found.get(key), value) for key, value in self.shape.items()]
        differs = [f"{key} is {mine}, not {value}" for key, mine, value in pairs if mine != value]
        if differs:
            raise ValueError(f"{self.path} does not hold a {self.architecture}: {'; '.join(differs)}")
        return build_model(tensors, dtype, self.computation)


def find(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Checkpoint:
    """The checkpoint of a name (see the module's text), downloaded into ``root`` if need be.

    Raises FileNotFoundError for a path without a file, ValueError for any other unknown name (with the nearest one)
    or an open_clip model that is not computed as CLIP is, RuntimeError where a download fails.
    """
    name = os.fspath(name)
    if name.startswith(open_clip_models.PREFIX):
        return _find_open_clip(name, root)
    if name in _MODELS:
        path = Path(_download(_MODELS[name], DEFAULT_ROOT if root is None else root))
        return Checkpoint(path, preprocess=OPENAI_IMAGES)
    if name == EMBEDDED:
        return Checkpoint(_embedded(Path(__file__).with_name("embedded.safetensors")), preprocess=OPENAI_IMAGES)
    path = Path(name).expanduser()
    if path.is_file():
        return Checkpoint(path, assumed=True)
    if path.suffix.lower() in SUFFIXES:
        raise FileNotFoundError(f"there is no weights file {path}")
    known = {known.lower(): known for known in (*_MODELS, EMBEDDED)}
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {known[nearest[0]]!r}? " if nearest else ""
    models = f"{', '.join(known.values())}, or open_clip:ARCH/PRETRAINED"
    raise ValueError(f"{name!r} is neither a CLIP model nor a weights file; {hint}Models: {models}")


def _embedded(path: Path) -> Path:
    if not path.is_file() or _sha256(path) != EMBEDDED_SHA256:
        raise ValueError(
            f"{path} is damaged or missing: it is not the file that comes with this project; get that again "
            "(git checkout -- clip/embedded.safetensors)"
        )
    return path


def _find_open_clip(name: str, root: str | os.PathLike[str] | None) -> Checkpoint:
    arch, rest, is_file = open_clip_models.split(name)
    known = open_clip_models.architecture(arch)
    if not is_file:
        path, computation, preprocess = open_clip_models.pretrained(known, rest, root)
        return Checkpoint(path, computation, preprocess, architecture=arch, shape=known.shape)
    path = Path(rest).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    return Checkpoint(path, known.computation, architecture=arch, shape=known.shape)


def resolve(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """The file of ``find``."""
    return find(name, root).path


def read_state_dict(path: str | os.PathLike[str], computation: Computation = OPENAI) -> dict[str, Tensor]:
    """The tensors of a weights file under OpenAI's keys, on the CPU, in the dtypes of the file.

    Wrappers (``state_dict``, ``module.``, open_clip's ``text.``) and entries that are not weights are taken
    off; a compact vocabulary (``token_embedding.ids`` ``[V']`` with ``token_embedding.rows`` ``[V', d]``) is
    spread over ``token_embedding.weight`` ``[49408, d]``, zeros elsewhere.

    Raises FileNotFoundError, or ValueError in one line: the file, and what is missing, unexpected, misshapen.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    content = _read(path)
    try:
        tensors = _fill_counters(_expand_vocabulary(_openai_keys(_only_tensors(content))))
        _check(tensors, computation)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return tensors


def _read(path: Path) -> Any:
    kind = "a weights file"
    try:
        kind, read = _kind(path)
        return read(path)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} cannot be read as {kind}: it is damaged, incomplete or holds more than tensors "
            f"({type(error).__name__}: {reason}); give a CLIP weights file"
        ) from error


def _kind(path: Path) -> tuple[str, Any]:
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return "safetensors", load_file
    if head.startswith(b"PK") and is_torchscript(path):
        return "a TorchScript archive", read_torchscript
    return "a state dict saved by torch", read_saved


def _only_tensors(content: Any) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"expected a CLIP state dict, found {type(content).__name__} without weights")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"expected a CLIP state dict, but {key!r} is of type {type(value).__name__}")
    return dict(content)


def _openai_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(key.startswith("module.") for key in tensors):  # saved from DistributedDataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    # open_clip's CustomTextCLIP
    tensors = {key.removeprefix("text."): value for key, value in tensors.items()}
    tensors = {key: value for key, value in tensors.items() if key not in (*METADATA_KEYS, "attn_mask")}
    if "logit_scale" in tensors and tensors["logit_scale"].shape == (1,):  # of some of open_clip's
        tensors["logit_scale"] = tensors["logit_scale"][0]
    return tensors


def _expand_vocabulary(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    ids, rows = tensors.pop("token_embedding.ids", None), tensors.pop("token_embedding.rows", None)
    if ids is None and rows is None:
        return tensors
    if ids is None or rows is None or ids.dim() != 1 or rows.dim() != 2 or len(ids) != len(rows):
        raise ValueError("a compact vocabulary needs token_embedding.ids [V] and token_embedding.rows [V, d]")
    ids = ids.long()
    if len(ids.unique()) != len(ids) or not bool(((ids >= 0) & (ids < VOCABULARY_SIZE)).all()):
        raise ValueError(f"token_embedding.ids must be different numbers from 0 to {VOCABULARY_SIZE - 1}")
    weight = rows.new_zeros(VOCABULARY_SIZE, rows.shape[1])
    weight[ids] = rows
    return {**tensors, "token_embedding.weight": weight}


def _fill_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add batch norm's step counters, without effect in evaluation, where an older file lacks them."""
    norms = [key.removesuffix("running_mean") for key in tensors if key.endswith("running_mean")]
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | tensors


def _check(tensors: dict[str, Tensor], computation: Computation) -> None:
    """Raise ValueError unless keys and shapes are those of a CLIP, an empty one of the inferred size."""
    try:
        with torch.device("meta"):
            model = CLIP(**infer_shape(tensors, computation))
    except (LookupError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"the weights have shapes that no CLIP has ({error})") from error
    check_keys(model, tensors)
