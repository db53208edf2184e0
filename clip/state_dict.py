"""From a weights file to its tensors under OpenAI's keys.

Files that are read: OpenAI's TorchScript archives, state dicts saved by ``torch.save``, safetensors; with OpenAI's
names, open_clip's or Hugging Face's, bare or wrapped as people save them (``unwrap``). The kind is seen from the
content, not from the suffix. Nothing here unpickles objects.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import finite, foreign
from .archives import UNREADABLE, is_torchscript, read_saved, read_torchscript
from .hugging_face_keys import BUFFERS, openai_names
from .model import METADATA_KEYS, check_keys, shapes_of_clip
from .shape import OPENAI, Computation, infer_shape
from .unwrap import unwrap

VOCABULARY_SIZE = 49408
# Buffers and facts in a state dict that are no weights.
_NO_WEIGHTS = (*METADATA_KEYS, "attn_mask", "text.attn_mask", *BUFFERS)


def read_state_dict(path: str | os.PathLike[str], computation: Computation = OPENAI) -> dict[str, Tensor]:
    """Read the tensors of a weights file under OpenAI's keys, on the CPU, in the dtypes of the file.

    Wrappers, prefixes (``unwrap``), open_clip's ``text.`` and entries that are not weights are taken off; a compact
    vocabulary (``token_embedding.ids`` ``[V']`` with ``token_embedding.rows`` ``[V', d]``) is spread over
    ``token_embedding.weight`` ``[49408, d]``, zeros elsewhere. Prints which of several weights are read, and what is
    left out.

    Raises FileNotFoundError, or ValueError in one line: the file, and what is missing, unexpected, misshapen, not
    finite, or which other model it is.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    content = _read(path)
    try:
        found, notes = unwrap(content)
        foreign.check(found)
        tensors = _fill_counters(_expand_vocabulary(_openai_keys(found)))
        _check(tensors, computation)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for line in notes:
        print(f"note: {path}: {line}")
    return tensors


def read_named(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file under its own names, without wrappers and prefixes, whatever model it is.

    Prints and raises as ``read_state_dict`` does.
    """
    content = _read(path)
    try:
        found, notes = unwrap(content)
        _check_finite(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for line in notes:
        print(f"note: {path}: {line}")
    return found


def _check_finite(tensors: dict[str, Tensor]) -> None:
    problem = finite.describe_nonfinite(tensors)
    if problem:
        raise ValueError(f"{problem}: the file is damaged, or its training diverged; get other weights")


def _read(path: Path) -> Any:
    kind = "a weights file"
    try:
        kind, read = _kind(path)
        return read(path)
    except UNREADABLE as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise ValueError(
                f"{path} holds more than tensors ({asked.group(1)}), and objects are not unpickled: where it was made, "
                "save the tensors alone, by torch.save(model.state_dict(), FILE) or "
                'torch.save(checkpoint["state_dict"], FILE)'
            ) from error
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


def _openai_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {key: value for key, value in tensors.items() if key not in _NO_WEIGHTS}
    _check_finite(tensors)
    # open_clip's CustomTextCLIP
    tensors = {key.removeprefix("text."): value for key, value in openai_names(tensors).items()}
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
        check_keys(shapes_of_clip(**infer_shape(tensors, computation)), tensors)
    except (LookupError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"the weights have shapes that no CLIP has ({error})") from error
