"""What all methods share: CLIP in the asked precision, the step, checkpoints of what was learned, evaluation.

A method is an ``nn.Module`` (``Method``) that says what is learned, how a loss comes about and what is scored at test
time; its trainer (``CLIPTrainer``) builds it. From Dassl only names of the public package are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os.path as osp
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from clip.model import CLIP, build_model, convert_weights
from clip.weights import read_state_dict, resolve
from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, save_checkpoint

from . import METHODS

PRECISIONS = ("fp32", "fp16", "amp", "bf16")


class Method(nn.Module):
    """Learned tensors around a frozen CLIP.

    ``clip_model`` is not a submodule: ``state_dict`` and ``parameters`` hold what is learned and nothing else.
    """

    clip_model: CLIP

    def __init__(self, clip_model: CLIP):
        super().__init__()
        self.__dict__["clip_model"] = clip_model.requires_grad_(False)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``[B, 3, H, W]`` and labels ``[B]`` to the loss and the scores ``[B, C]`` of training accuracy."""
        raise NotImplementedError

    def class_features(self) -> Any:
        """Whatever evaluation needs of the classes, computed once per evaluation."""
        raise NotImplementedError

    def scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Evaluation scores ``[B, C]``."""
        raise NotImplementedError

    def is_frozen(self, key: str) -> bool:
        """Whether a tensor of official checkpoints is frozen or tied to the classes trained on, so not loaded."""
        return False


class CLIPTrainer(TrainerX):
    """Base of all trainers. A subclass has a ``registered_name`` and a ``build_method``."""

    registered_name = ""

    def check_cfg(self, cfg: Any) -> None:
        """Raises ValueError for an unknown precision or protocol."""
        precision = self.precision_of(cfg)
        if precision not in PRECISIONS:
            raise ValueError(f"{self.settings_key(cfg)}.PREC is {precision!r}: choose one of {', '.join(PRECISIONS)}")
        if cfg.TASK not in ("B2N", "CD", "FS"):
            raise ValueError(f"TASK is {cfg.TASK!r}: choose B2N (base to new), CD (cross-dataset) or FS (few-shot)")

    @classmethod
    def settings_key(cls, cfg: Any) -> str:
        """Where the method's settings lie in the config."""
        return f"TRAINER.{METHODS[cfg.TRAINER.NAME].node}"

    @classmethod
    def settings_of(cls, cfg: Any) -> CfgNode:
        """The method's node, empty for a method without settings."""
        return cfg.TRAINER.get(METHODS[cfg.TRAINER.NAME].node, CfgNode())

    @classmethod
    def precision_of(cls, cfg: Any) -> str:
        """``PREC`` of the method's node."""
        return cls.settings_of(cfg).PREC

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> Method:
        """The method's module over frozen CLIP for these classes; needs neither data nor a trainer."""
        raise NotImplementedError

    def build_model(self) -> None:
        """Load CLIP, build the method, its optimiser and schedule."""
        cfg = self.cfg
        self.precision = effective_precision(self.precision_of(cfg), self.device)
        self.trained_on = cfg.DATASET.NAME
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME}, precision: {self.precision})")
        path = resolve(cfg.MODEL.BACKBONE.NAME)
        self.weights = digest_of(path)
        clip_model = load_clip(path, self.precision, self.device)
        with self.autocast():
            self.model = self.build_method(cfg, clip_model, list(self.dm.dataset.classnames)).to(self.device)
        scale = self.precision == "amp"
        self.scaler = torch.amp.GradScaler(self.device.type) if scale else None
        self.compute_loss = self.model.loss
        if cfg.TRAINER.COMPILE:
            self.compute_loss = compiled(self.model.loss, self.device)
        learned = sum(p.numel() for p in self.model.parameters())
        if not learned:
            return
        print(f"Learned parameters: {learned:,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model(self.registered_name, self.model, self.optim, self.sched)

    def autocast(self) -> contextlib.AbstractContextManager:
        """The autocast region of this run's steps and evaluations."""
        return autocast(self.precision, self.device)

    def forward_backward(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """One step; raises FloatingPointError naming the batch when the loss is not finite."""
        images, labels = self.parse_batch_train(batch)
        with self.autocast():
            loss, scores = self.compute_loss(images, labels)
        self.optim.zero_grad()
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        accuracy = compute_accuracy(scores.detach(), labels)[0].reshape(())
        # The one wait for the device in a step; it comes once the backward pass is queued and before any update.
        value, percent = torch.stack([loss.detach(), accuracy.to(loss)]).tolist()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at epoch {self.epoch + 1}, batch {self.batch_idx + 1} "
                f"(first image: {batch['impath'][0]}): training stops, the last checkpoint is kept; "
                "lower OPTIM.LR or use PREC fp32"
            )
        if self.scaler is None:
            self.optim.step()
        else:
            self.scaler.step(self.optim)
            self.scaler.update()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": value, "acc": percent}

    def parse_batch_train(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Images ``[B, 3, H, W]`` and labels ``[B]`` on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))  # type: ignore[return-value]

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate; class features are computed once for it and dropped afterwards."""
        self.set_model_mode("eval")
        with self.autocast():
            self._class_features = self.model.class_features()
        try:
            return super().test(split)
        finally:
            del self._class_features

    def model_inference(self, images: Tensor) -> Tensor:
        """Scores ``[B, C]`` of a batch of images, within ``test``."""
        with self.autocast():
            return self.model.scores(images, self._class_features)

    def about(self) -> dict[str, Any]:
        """What a checkpoint says of itself: plain values only."""
        cfg = self.cfg
        return {
            "method": cfg.TRAINER.NAME,
            "dataset": self.trained_on,
            "classnames": list(self.dm.dataset.classnames),
            "backbone": cfg.MODEL.BACKBONE.NAME,
            "weights": self.weights,
            "settings": _plain(self.settings_of(cfg)),
        }

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Dassl's checkpoint files, holding what was learned, and what they are (``about``)."""
        for name in self.get_model_names():
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "optimizer": self._optims[name].state_dict(),
                "scheduler": self._scheds[name].state_dict(),
                "val_result": val_result,
                "about": self.about(),
            }
            save_checkpoint(state, osp.join(directory, name), is_best=is_best, model_name=model_name)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load learned tensors of a run's folder, ours or of the method's official release.

        Without an epoch the best model is taken if one was kept, else the last. Raises FileNotFoundError for a missing
        checkpoint and ValueError for one of another method, backbone, setting or shape, naming what differs.
        """
        for name in self.get_model_names(None):
            path = checkpoint_path(osp.join(directory, name), epoch)
            checkpoint = load_checkpoint(path)
            about = checkpoint.get("about")
            if about is not None:
                self._check_about(path, about)
                self.trained_on = about["dataset"]
            elif self.cfg.TASK == "CD":
                self.trained_on = "ImageNet"  # official checkpoints do not say; their cross-dataset source is ImageNet
            load_learned(self.model, checkpoint["state_dict"], path)
            print(f"Load {path} to {name} (epoch = {checkpoint['epoch']}, val_result = {checkpoint['val_result']})")

    def _check_about(self, path: str, about: Mapping[str, Any]) -> None:
        mine = self.about()
        pairs = {"method": (about["method"], mine["method"])}
        if about["weights"] != mine["weights"]:  # the same weights may have another name or place
            theirs, ours = (f"{side['backbone']} ({side['weights']})" for side in (about, mine))
            pairs["backbone"] = (theirs, ours)
        pairs |= {
            f"{self.settings_key(self.cfg)}.{key}": (about["settings"].get(key), value)
            for key, value in mine["settings"].items()
            if key in self.shape_settings
        }
        differs = [f"{key} is {theirs} there, {ours} here" for key, (theirs, ours) in pairs.items() if theirs != ours]
        if differs:
            raise ValueError(f"{path} does not fit this run: {'; '.join(differs)}")

    # Settings that must agree with the checkpoint's; the others may be changed at test time.
    shape_settings: tuple[str, ...] = ()


def effective_precision(asked: str, device: torch.device) -> str:
    """The precision that runs: amp (fp16 autocast with loss scaling) needs CUDA; elsewhere it is fp32, and said."""
    if asked == "amp" and device.type != "cuda":
        print(f"PREC amp needs CUDA; on {device.type} this run uses fp32")
        return "fp32"
    return asked


def digest_of(path: Path) -> str:
    """The first 16 hex digits of a file's SHA-256: a learned tensor belongs to the very weights it was learned on."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def load_clip(path: Path, precision: str, device: torch.device) -> CLIP:
    """Frozen CLIP on ``device``. Weights that autocast would cast at every use are cast once, with the same values."""
    model = build_model(read_state_dict(path), dtype=torch.float32)
    low = {"fp16": torch.float16, "amp": torch.float16, "bf16": torch.bfloat16}.get(precision)
    if low is not None:
        convert_weights(model, low, projections=precision == "fp16")
    return model.requires_grad_(False).to(device)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The autocast region of a precision; none in fp32 and fp16."""
    dtype = {"amp": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """``torch.compile``; on CUDA, where a small batch is bound by kernel launches, they are recorded as CUDA graphs."""
    return torch.compile(function, mode="reduce-overhead" if device.type == "cuda" else "default")


def wide(x: Tensor) -> Tensor:
    """At least float32: features that enter a loss or a softmax are not kept in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit(features: Tensor) -> Tensor:
    """Features ``[..., d]`` divided by their L2 norm, at least in float32."""
    return F.normalize(wide(features), dim=-1)


def checkpoint_path(directory: str, epoch: int | None) -> str:
    """The checkpoint of an epoch; without one the best if kept, else the last. Raises FileNotFoundError."""
    if epoch is not None:
        path = osp.join(directory, f"model.pth.tar-{epoch}")
    else:
        path = osp.join(directory, "model-best.pth.tar")
        pointer = osp.join(directory, "checkpoint")
        if not osp.exists(path) and osp.exists(pointer):
            with open(pointer) as file:
                path = osp.join(directory, file.readline().strip())
    if not osp.exists(path):
        raise FileNotFoundError(f"no checkpoint at {path}: train first, or give --model-dir and --load-epoch of a run")
    return path


def load_learned(model: Method, state_dict: Mapping[str, Tensor], path: str) -> None:
    """Load exactly the learned tensors; raises ValueError listing keys that are missing, unknown or ill-shaped."""
    wanted = model.state_dict()
    given = {key.removeprefix("module."): value for key, value in state_dict.items()}
    problems = [f"{key} is missing" for key in wanted if key not in given]
    problems += [
        f"{key} is {list(given[key].shape)} there, {list(value.shape)} here"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    problems += [f"{key} is unknown" for key in given if key not in wanted and not model.is_frozen(key)]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"{path} does not fit this run: {'; '.join(problems[:3])}{more}")
    model.load_state_dict({key: given[key] for key in wanted})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
