"""Checkpoints of what was learned: one safetensors file that says what it is and notices damage. No trainer is needed.

``{folder}/model-{epoch}.safetensors`` and ``{folder}/model-best.safetensors``; the file ``checkpoint`` names the last,
as Dassl has it.
The header's metadata holds one entry, ``about``: JSON with, among others, ``method``, ``settings``, ``config``,
``dataset``, ``classnames``, ``template``, ``backbone``, ``weights`` (start of the SHA-256 of the backbone's file),
``epoch``, ``val_result``, and a ``digest`` over all of it and the tensors. Files of Dassl's form, ours of old or the
methods' official ones (``model.pth.tar-{epoch}``), are read too; those may say nothing of themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from common.files import sha256, write_bytes
from common.text import is_text
from dassl.utils import load_checkpoint

FORMAT = 1
SUFFIX = ".safetensors"
POINTER = "checkpoint"
BEST = "best"
About = dict[str, Any]
PathLike = str | os.PathLike[str]

# What safetensors' reader and the JSON in its header raise for files that are cut, changed or not theirs.
_UNREADABLE = (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError)


def save(path: PathLike, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and what they are (plain JSON values) to ``path``, atomically; OSError names it.

    Raises FloatingPointError where a tensor is not finite: it is not saved.
    """
    from clip import finite

    content = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    problem = finite.describe_nonfinite(content)
    if problem:
        raise FloatingPointError(
            f"{problem}, so {path} is not written: training diverged; lower OPTIM.LR or use PREC fp32"
        )
    facts = {**about, "format": FORMAT}
    facts["digest"] = digest(content, facts)
    # One entry only: safetensors writes several in any order, and equal content shall make equal files.
    write_bytes(path, serialised(content, {"about": json.dumps(facts, sort_keys=True, allow_nan=False)}))


def read(path: PathLike) -> tuple[dict[str, Tensor], About]:
    """Return tensors, on the CPU, and what they are: of a file that ``save`` wrote, or of one in Dassl's form.

    Of the latter the second part holds ``epoch`` and ``val_result`` where the file has them, and nothing else if it is
    of another repository. Raises FileNotFoundError, or ValueError naming a file that is damaged, foreign or too new.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        return _read_dassl(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    if not is_text(str(path)):
        raise ValueError(f"cannot load checkpoint {path}: its path is not UTF-8, which safetensors needs: rename it")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sound = about.pop("digest") == digest(tensors, about)
    except _UNREADABLE as error:
        raise ValueError(f"cannot load checkpoint {path}: damaged, or not a checkpoint") from error
    if not sound:
        raise ValueError(f"cannot load checkpoint {path}: damaged (its checksum does not fit)")
    if about.get("format", 0) > FORMAT:
        raise ValueError(f"cannot load checkpoint {path}: a newer version of this project wrote it; update")
    return tensors, about


def _read_dassl(path: Path) -> tuple[dict[str, Tensor], About]:
    content = load_checkpoint(path)
    tensors = content.get("state_dict")
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"cannot load checkpoint {path}: it has no state_dict of tensors")
    facts = {key: content[key] for key in ("epoch", "val_result") if key in content}
    return {key.removeprefix("module."): value for key, value in tensors.items()}, {**content.get("about", {}), **facts}


def digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Return the SHA-256 of ``about`` and of the tensors' names, types, shapes and values: 64 hex digits."""
    total = hashlib.sha256(json.dumps(about, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        total.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def keep(folder: PathLike, tensors: Mapping[str, Tensor], about: Mapping[str, Any], best: bool = False) -> Path:
    """Save as the checkpoint of ``about["epoch"]``, which becomes the last, or as the best one. Returns its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(BEST if best else about["epoch"])
    save(path, tensors, about)
    if not best:
        write_bytes(folder / POINTER, f"{path.name}\n".encode())
    return path


def file_name(label: int | str) -> str:
    """Return the name of an epoch's checkpoint, or of the best one's."""
    return f"model-{label}{SUFFIX}"


def find(folder: PathLike, epoch: int | None = None) -> Path:
    """Return the checkpoint of an epoch; without one the best if one was kept, else the last.

    Where ours and one of Dassl's form share an epoch, ours is taken, and that is printed. Raises FileNotFoundError
    saying what there is instead, and ValueError for a damaged ``checkpoint`` file.
    """
    folder = Path(folder)
    if epoch is not None:
        path = _of(folder, epoch)
    else:
        path = _of(folder, BEST)
        if not path.is_file():
            path = last(folder) or folder
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in folder.glob("model*"))) or "none"
        raise FileNotFoundError(
            f"no checkpoint at {path}: train first, or give --model-dir and --load-epoch of a run "
            f"(the folder has {there})"
        )
    return path


def last(folder: PathLike) -> Path | None:
    """Return ours of the highest epoch, else the one that the file ``checkpoint`` names, else None.

    Ours are known by their names alone, as a damaged ``checkpoint`` could name another. ValueError if it is needed and
    names no file of the folder.
    """
    folder = Path(folder)
    names = [re.fullmatch(r"model-(\d+)\.safetensors", path.name) for path in folder.glob(f"model-*{SUFFIX}")]
    epochs = [int(found.group(1)) for found in names if found]
    if epochs:
        return _of(folder, max(epochs))
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    name = pointer.read_bytes().decode("utf-8", errors="replace").strip()
    if not re.fullmatch(r"[\w.-]+", name) or not (folder / name).is_file():
        raise ValueError(f"{pointer} does not name a checkpoint beside it: give --load-epoch")
    return folder / name


def _of(folder: Path, label: int | str) -> Path:
    ours = folder / file_name(label)
    theirs = folder / ("model-best.pth.tar" if label == BEST else f"model.pth.tar-{label}")
    if not theirs.is_file():
        return ours
    if not ours.is_file():
        return theirs
    print(f"note: {folder} holds {ours.name} and {theirs.name}: {ours.name} is read")
    return ours


def load_learned(method: nn.Module, tensors: Mapping[str, Tensor], path: PathLike) -> None:
    """Load exactly the learned tensors.

    Raises ValueError listing keys that are missing, unknown or ill-shaped, or naming tensors that are not finite.

    ``method.ignores_checkpoint_key(key)`` says which other tensors a file may hold, such as those of frozen CLIP.
    """
    from clip import finite

    wanted = method.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in tensors]
    problems += [
        f"{key} is {list(tensors[key].shape)} there, {list(value.shape)} here"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    problems += [f"{key} is unknown" for key in tensors if key not in wanted and not method.ignores_checkpoint_key(key)]  # type: ignore[operator]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"{path} does not fit this run: {'; '.join(problems[:3])}{more}")
    learned = {key: tensors[key] for key in wanted}
    problem = finite.describe_nonfinite(learned)
    if problem:
        raise ValueError(f"{path}: {problem}: its training diverged; load an earlier epoch, or train again")
    method.load_state_dict(learned)


def check_fits(path: PathLike, about: Mapping[str, Any], mine: Mapping[str, Any], node: str, settings: tuple) -> None:
    """Raise ValueError, naming what differs, unless a checkpoint's ``about`` agrees with a run's own.

    Method, weights of the backbone, and those ``settings`` of the config's ``node`` that shape the learned tensors.
    """
    pairs = {"method": (about["method"], mine["method"])}
    if about["weights"] != mine["weights"]:  # the same weights may have another name or place
        theirs, ours = (f"{side['backbone']} ({side['weights']})" for side in (about, mine))
        pairs["backbone"] = (theirs, ours)
    pairs |= {
        f"{node}.{key}": (about["settings"].get(key), value)
        for key, value in mine["settings"].items()
        if key in settings
    }
    differs = [f"{key} is {theirs} there, {ours} here" for key, (theirs, ours) in pairs.items() if theirs != ours]
    if differs:
        raise ValueError(f"{path} does not fit this run: {'; '.join(differs)}")


def digest_of(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256, which tell the weights that a tensor was learned on."""
    return sha256(path)[:16]


def plain(value: Any) -> Any:
    """Return nested config values as JSON ones."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
