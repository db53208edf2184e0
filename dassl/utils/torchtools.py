"""Checkpoints and parameters."""

from __future__ import annotations

import io
import os
import shutil
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.files import check_zip, replacing, write_bytes, write_text
from dassl.lazy import names_from

from .tools import tolist_if_not

__getattr__ = names_from(
    __name__,
    {
        "dassl.utils.layers": "adjust_learning_rate init_network_weights set_bn_to_eval",
        "dassl.utils.tools": "mkdir_if_missing",
        "functools": "partial",
    },
)

PathLike = str | os.PathLike[str]

# The public Dassl pickles scheduler objects, and with them their optimiser, into its checkpoints. They are
# read as inert records, so that the weights beside them load under `weights_only`.
_PICKLED_BY_DASSL = {
    "torch.optim.lr_scheduler": ("CosineAnnealingLR", "MultiStepLR", "StepLR"),
    "torch.optim.adam": ("Adam",),
    "torch.optim.adamw": ("AdamW",),
    "torch.optim.rmsprop": ("RMSprop",),
    "torch.optim.sgd": ("SGD",),
    "dassl.optim.radam": ("RAdam",),
    "dassl.optim.lr_scheduler": ("ConstantWarmupScheduler", "LinearWarmupScheduler"),
}


def _inert(module: str, name: str, base: type = object) -> type:
    return type(name, (base,), {"__module__": module})


class _DictByFactory(dict):
    """Stands in for the optimiser's `defaultdict(dict)`, which torch's loader cannot fill."""

    def __new__(cls, factory: type) -> dict:  # type: ignore[misc]
        return {}


_READABLE: list[Any] = [
    *(_inert(module, name) for module, names in _PICKLED_BY_DASSL.items() for name in names),
    _inert("collections", "defaultdict", _DictByFactory),
    _inert("__builtin__", "dict", dict),  # the name that torch 2.4 sees
    dict,
    Counter,
]


@contextmanager
def _reading_dassl_pickles() -> Iterator[None]:
    before = list(torch.serialization.get_safe_globals())  # torch 2.4 gives the list itself
    torch.serialization.add_safe_globals(_READABLE)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def atomic_save(state: Any, path: PathLike, backup: PathLike | None = None) -> None:
    """Save like `torch.save`, and leave the old file or the complete new one under `path`, after a kill or a power cut.

    The old file becomes `backup`, if one is named; killed right then, only `backup` is there. Raises OSError naming
    `path`, such as for a full disk; the old file is then as it was.
    """
    target = Path(path)
    content = io.BytesIO()
    torch.save(state, content)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror}") from error
    write_bytes(target, content.getbuffer(), backup=backup)


def _strip_module(state_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Drop the `module.` that DataParallel puts before every key."""
    return OrderedDict((key.removeprefix("module."), value) for key, value in state_dict.items())


def save_checkpoint(
    state: Mapping[str, Any],
    save_dir: PathLike,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write `state` to `model_name`, by default `model.pth.tar-{epoch}`, and that name to `checkpoint`.

    `state` holds at least `state_dict` and `epoch`. With `is_best` it is also copied to `model-best.pth.tar`.
    Both files are replaced atomically.
    """
    folder = Path(save_dir)
    content = dict(state)
    if remove_module_from_keys:
        content["state_dict"] = _strip_module(content["state_dict"])
    path = folder / (model_name or f"model.pth.tar-{content['epoch']}")
    atomic_save(content, path)
    print(f"Checkpoint saved to {path}")

    write_text(folder / "checkpoint", f"{path.name}\n")
    if is_best:
        best = folder / "model-best.pth.tar"
        with replacing(best) as partial:
            shutil.copyfile(path, partial)
        print(f"Best checkpoint saved to {best}")


def load_checkpoint(fpath: PathLike) -> dict[str, Any]:
    """Load a checkpoint to the CPU without executing anything in it; the public Dassl's files load too.

    Raises FileNotFoundError if there is no file, ValueError if it is damaged or holds foreign objects.
    """
    path = Path(fpath)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    try:
        check_zip(path)
        with _reading_dassl_pickles():
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Garbage raises anything from KeyError up; torch's own messages advise to switch the check off.
        reason = next((line for line in str(error).splitlines() if "Unsupported" in line), "")
        raise ValueError(
            f"cannot load checkpoint {path}: damaged, or not a checkpoint{reason and f' ({reason.strip()})'}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"cannot load checkpoint {path}: it holds a {type(checkpoint).__name__}, not a dict")
    return checkpoint


def resume_from_checkpoint(
    fdir: PathLike,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> int:
    """Restore from the file that `fdir/checkpoint` names; return the number of epochs done."""
    folder = Path(fdir)
    pointer = folder / "checkpoint"
    if not pointer.is_file():
        raise FileNotFoundError(f"no file 'checkpoint' in {folder} to resume from")
    path = folder / pointer.read_text(encoding="utf-8").strip()
    print(f'Loading checkpoint from "{path}"')
    checkpoint = load_checkpoint(path)
    model.load_state_dict(checkpoint["state_dict"])
    print("Loaded model weights")
    if optimizer is not None and checkpoint.get("optimizer") is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
        print("Loaded optimizer")
    if scheduler is not None and checkpoint.get("scheduler") is not None:
        scheduler.load_state_dict(checkpoint["scheduler"])
        print("Loaded scheduler")
    epoch = checkpoint["epoch"]
    print(f"Previous epoch: {epoch}")
    return epoch


def load_pretrained_weights(model: nn.Module, weight_path: PathLike) -> None:
    """Load those weights of a checkpoint or plain state dict whose name and shape fit; name the rest.

    Warns if nothing fits.
    """
    checkpoint = load_checkpoint(weight_path)
    state_dict = _strip_module(checkpoint.get("state_dict", checkpoint))
    own = model.state_dict()
    matched = {k: v for k, v in state_dict.items() if k in own and own[k].shape == v.shape}
    discarded = [key for key in state_dict if key not in matched]
    own.update(matched)
    model.load_state_dict(own)
    if not matched:
        warnings.warn(f"no weight in {weight_path} fits the model; check the key names", stacklevel=2)
        return
    print(f"Successfully loaded pretrained weights from {weight_path}")
    if discarded:
        print(f"Layers discarded due to unmatched keys or size: {discarded}")


def open_all_layers(model: nn.Module) -> None:
    """Put the model in training mode and make all its parameters trainable."""
    model.train()
    model.requires_grad_(True)


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Make only the named children trainable (and in training mode); freeze the others in evaluation mode.

    Raises ValueError if a name is not an attribute of the model.
    """
    if isinstance(model, nn.DataParallel):
        model = model.module
    names = tolist_if_not(open_layers)
    for name in names:
        if not hasattr(model, name):
            raise ValueError(f"'{name}' is not an attribute of the model; give the names of its children")
    for name, module in model.named_children():
        module.train(name in names)
        module.requires_grad_(name in names)


def count_num_param(model: nn.Module | None = None, params: Any = None) -> int:
    """Return the number of parameters of `model`, or of `params` (tensors, or a group `{"params": tensors}`)."""
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is not None:
        tensors = params["params"] if isinstance(params, dict) else params
        return sum(p.numel() for p in tensors)
    raise ValueError("count_num_param needs a model or params")
