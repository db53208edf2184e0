"""The public codes' checkpoints and command lines, as their repositories have them.

Names, shapes, kinds of numbers and folders are those of the releases, with a CLIP of ViT-B/16's 12 layers whose widths
all differ; nothing here comes from our trainers. The files are Dassl's: optimiser state, and a pickled scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from . import toy

TEXT, VISION, JOINT, LAYERS, CLASSES, SHOTS = 64, 128, 32, 12, 5, 4  # classes: those trained on
Shapes = dict[str, tuple[int, ...]]
State = dict[str, torch.Tensor]
# Options that many official scripts have.
BASE = "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base"
COOP = "TRAINER.COOP.N_CTX {} TRAINER.COOP.CSC False {}TRAINER.COOP.CLASS_TOKEN_POSITION end DATASET.NUM_SHOTS {}"


@dataclass(frozen=True)
class Command:
    """A command line of an official script: configuration, options, and one setting that must come out.

    ``trainer`` is the name that the script gives, where it is not the method's.
    """

    config: str
    options: str
    setting: tuple[str, Any]
    trainer: str = ""


@cache
def clip_weights() -> State:
    """Return the state dict of the CLIP that the checkpoints were learned on."""
    return toy.clip_weights(
        0, embed=JOINT, res=32, patch=8, vision=(VISION, LAYERS), text=(TEXT, LAYERS), vocabulary=49408
    )


def linear(name: str, width_in: int, width_out: int) -> Shapes:
    """Return the tensors of a linear map."""
    return {f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)}


def around(context: int, prefix: str = "", classes: int = CLASSES) -> Shapes:
    """Return what stands around a context in each class prompt."""
    shapes = {"token_prefix": (classes, 1, TEXT), "token_suffix": (classes, 76 - context, TEXT)}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def whole_clip(of_text: str = "text_encoder") -> State:
    """Return CLIP's tensors where the whole model is registered."""
    text = ("transformer.", "positional_embedding", "ln_final.", "text_projection")
    clip = clip_weights()
    found = {"logit_scale": clip["logit_scale"]}
    found |= {f"{of_text}.{name}": value for name, value in clip.items() if name.startswith(text)}
    return found | {f"image_encoder.{k.removeprefix('visual.')}": v for k, v in clip.items() if k.startswith("visual.")}


@dataclass(frozen=True)
class Official:
    """A release's checkpoint: our configuration of its name, where it lies, what it holds; half in most releases."""

    config: str
    folder: str
    epoch: int
    learned: Mapping[str, tuple[int, ...]]
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    frozen: Callable[[], State] = dict
    dtype: torch.dtype = torch.float16
    optimizer: type[torch.optim.Optimizer] = torch.optim.SGD
    best: bool = False  # model-best.pth.tar, which is loaded without an epoch
    ignored: tuple[str, ...] = ()  # starts of names that a run passes over unseen
    searched: frozenset[str] = frozenset()  # what our model has beside, found by itself

    def tensors(self) -> State:
        """Return learned tensors from torch's generator."""
        return {name: (0.1 * torch.randn(shape)).to(self.dtype) for name, shape in self.learned.items()}

    def write(self, folder: Path, strangers: State | None = None) -> State:
        """Write the file as Dassl does, with tensors that no release has. Return the learned tensors."""
        torch.manual_seed(0)
        learned = self.tensors()
        state = {name: torch.randn(shape).half() for name, shape in self.beside.items()}
        state |= {name: v.half() if v.is_floating_point() else v for name, v in self.frozen().items()} | learned
        optimizer, scheduler = self._optimizer(learned)
        content = {
            "state_dict": state | (strangers or {}),
            "epoch": self.epoch,
            "optimizer": optimizer,
            "scheduler": scheduler,
            "val_result": 81.25 if self.best else None,
        }
        path = folder / self.folder / ("model-best.pth.tar" if self.best else f"model.pth.tar-{self.epoch}")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
        (path.parent / "checkpoint").write_text(f"model.pth.tar-{self.epoch}\n")
        return learned

    def _optimizer(self, learned: State) -> tuple[dict[str, Any], dict[str, Any]]:
        """The states of optimiser and scheduler after a step."""
        parameters = [torch.nn.Parameter(value.float()) for value in learned.values()]
        kind: Any = self.optimizer
        optimizer = kind(parameters, lr=0.002, weight_decay=5e-4)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
        warm_up = {"cons_lr": 1e-5, "warmup_epoch": 1, "base_lrs": [0.002], "last_epoch": 50, "_step_count": 51}
        return optimizer.state_dict(), {**warm_up, "verbose": False, "_last_lr": [1e-5], "successor": cosine}
