"""What is measured: a method on CLIP with random weights, ours and the plain reference of the tests.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from open_clip import IMAGENET_CLASSNAMES
from safetensors.torch import save_file
from torch import Tensor

import reference
from benchmarks import sides
from benchmarks.sides import Side
from clip.state_dict import read_state_dict
from reference.shared import toy
from reference.shared.clip import PlainCLIP
from trainers.shared.base import autocast, compiled, effective_precision, load_clip


@dataclass(frozen=True)
class Size:
    """Of CLIP: ViT-B/16. Towers are (width, layers)."""

    embed: int = 512
    res: int = 224
    patch: int = 16
    vision: tuple[int, int] = (768, 12)
    text: tuple[int, int] = (512, 12)
    vocabulary: int = 49408


@dataclass(frozen=True)
class Case:
    """One row of a table. Precisions are the ones that run (``resolved``)."""

    method: str
    classes: int
    batch: int
    precision: str
    plain_precision: str
    device: str
    compiled: bool = False  # our step, as with TRAINER.COMPILE

    def precision_of(self, side: str) -> str:
        """Of ``ours`` or ``plain``."""
        return self.precision if side == "ours" else self.plain_precision


def check_options(method: str, device: str) -> None:
    """Raises ValueError for a method that takes no gradient steps or a device that is not there."""
    if method not in (methods := reference.learning()):
        raise ValueError(f"--method {method} has no benchmark: there are {', '.join(methods)}")
    kind = device.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        raise ValueError(f"--device {device} is not available: there are {', '.join(k for k, v in there.items() if v)}")


def resolved(precision: str, device: str) -> str:
    """The precision that runs where ``precision`` is asked; a difference is said on stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        return effective_precision(precision, torch.device(device))


def class_names(count: int) -> list[str]:
    """Different names, drawn from ImageNet's; beyond those, their words are mixed (one word more where it had one)."""
    names = list(dict.fromkeys(IMAGENET_CLASSNAMES))
    random.Random(0).shuffle(names)
    found = dict.fromkeys(names)
    shift = 1
    while len(found) < count:
        for i, name in enumerate(names):
            first, _, rest = name.partition(" ")
            found[f"{names[(i + shift) % len(names)].split()[0]} {rest or first}"] = None
        shift += 1
    return list(found)[:count]


def write_weights(path: Path, size: Size) -> None:
    """Random weights under OpenAI's names, float32."""
    save_file(toy.clip_weights(0, **asdict(size)), path)


def build(case: Case, side: str, weights: Path) -> Side:
    """``ours`` or ``plain``, both with the same frozen weights, prompts and initial learned tensors."""
    names = class_names(case.classes)
    if side == "ours":
        clip_model = load_clip(weights, case.precision, torch.device(case.device))
        torch.manual_seed(0)
        with autocast(case.precision, torch.device(case.device)):
            return sides.ours(case.method, clip_model, names)
    clip_model = load_clip(weights, "fp32", torch.device("cpu"))
    learned = sides.learned_at_start(case.method, clip_model, names, case.device)
    dtype = torch.float16 if case.plain_precision == "fp16" else torch.float32
    frozen = {k: v.to(case.device, dtype, copy=True) for k, v in read_state_dict(weights).items()}
    with torch.device(case.device):
        return sides.plain(case.method, frozen, names, learned)


def batch_of(case: Case, weights: Path) -> tuple[Tensor, Tensor]:
    """Images ``[B, 3, H, W]`` and labels ``[B]``, the same for both sides."""
    state = read_state_dict(weights)
    patch = state["visual.conv1.weight"].shape[-1]
    side = patch * round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, side, side, generator=generator)
    labels = torch.randint(case.classes, (case.batch,), generator=generator)
    return images.to(case.device), labels.to(case.device)


def plain_clip_in_half(weights: Path, device: str, images: Tensor) -> Callable[[], Tensor]:
    """The plain image tower in fp16 over ``images``, without classes: what evaluation should beat on CUDA."""
    state = {k: v.to(device, torch.float16) for k, v in read_state_dict(weights).items()}
    with torch.device(device):
        model = PlainCLIP(state)
    half = images.half()

    def call() -> Tensor:
        with torch.no_grad():
            return model.image_feature(half)

    return call


class Step:
    """A training step of a side: forward, loss, backward, AdamW; the same optimiser for both."""

    def __init__(self, side: Side, precision: str, images: Tensor, labels: Tensor):
        self.side, self.precision, self.images, self.labels = side, precision, images, labels
        self.device = images.device.type
        self.optim = torch.optim.AdamW(list(side.learned.values()), lr=1e-3)
        self.scaler = torch.amp.GradScaler(self.device, enabled=precision == "amp")
        self.compute, self.loss = side.loss, torch.tensor(float("nan"))

    def compile(self) -> None:
        """From now on compiled, as a trainer does it."""
        self.compute = compiled(self.side.loss, self.images.device)

    def __call__(self) -> None:
        self.backward()
        self.update()

    def backward(self) -> None:
        """Run forward, loss and backward."""
        with autocast(self.precision, self.images.device):
            loss = self.compute(self.images, self.labels)
        self.optim.zero_grad()
        self.scaler.scale(loss).backward()
        self.loss = loss.detach().clone()  # compiled, its memory is used again

    def update(self) -> None:
        """Update the learned tensors."""
        self.scaler.step(self.optim)
        self.scaler.update()

    def gradients(self) -> Tensor:
        """All gradients of the last step, end to end."""
        return torch.cat([v.grad.flatten() for v in self.side.learned.values() if v.grad is not None])


def step_of(case: Case, side: str, weights: Path) -> Step:
    """The step of ``ours`` or ``plain``, not compiled yet."""
    return Step(build(case, side, weights), case.precision_of(side), *batch_of(case, weights))


def check_same_step(ours: Step, plain: Step) -> float:
    """The relative difference of the losses after a step of both.

    Raises ValueError where they, or the gradients (float32 only), differ by more than their precision allows: there is
    nothing to compare then.
    """
    exact = ours.precision == plain.precision == "fp32"
    found = relative(ours.loss.float(), plain.loss.float())
    _check("loss", found, 1e-4 if exact else 2e-2)
    if exact:
        _check("gradients", relative(ours.gradients(), plain.gradients()), 1e-3)
    return found


def check_same_scores(ours: Tensor, plain: Tensor, exact: bool) -> None:
    """Raises ValueError where the scores ``[B, C]`` of both differ by more than their precision allows."""
    _check("scores", relative(ours, plain), 1e-3 if exact else 0.2)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm of what was wanted."""
    return float((found - wanted).norm() / wanted.norm())


def _check(what: str, found: float, allowed: float) -> None:
    if not found <= allowed:
        raise ValueError(f"{what} of ours and plain differ by {found:.1e} of plain's norm, allowed are {allowed:.0e}")
