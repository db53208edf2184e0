"""What all methods share: CLIP in the asked precision, the step, evaluation; checkpoints are in ``saving``.

A method is an ``nn.Module`` (``Method``) that says what is learned, how a loss comes about and what is scored at test
time; its trainer (``CLIPTrainer``) builds it. From Dassl only names of the public package are used.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.draws import Draw
from clip.model import CLIP
from clip.weights import find
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer

from . import engine, official_stream
from .backbone import check_input, load_clip, unknowns, weights_id
from .saving import SavingTrainer
from .templates import check_texts, same_prompts

PRECISIONS = ("fp32", "fp16", "amp", "bf16")
CPU_PASS = 32  # images scored at a time


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

    def use_classes(self, seen: bool) -> None:
        """Say whether the classes to score are exactly those trained on, for methods that then score differently.

        A method that cannot score other classes raises ValueError for ``seen=False``.
        """

    def probabilities(self, scores: Tensor) -> Tensor:
        """Evaluation scores ``[B, C]`` as class probabilities ``[B, C]``, at least float32."""
        return at_least_float32(scores).softmax(dim=-1)

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Get ready to load a checkpoint's tensors, learned on these classes (None if the checkpoint does not say).

        For methods with tensors whose sizes or order depend on the data trained on.
        """

    def from_noise(self, name: str, values: Tensor) -> Tensor:
        """The initial value of a learned tensor for which the public code draws ``values``, here themselves."""
        return values

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Whether a tensor of official checkpoints is frozen or tied to the classes trained on, so not loaded."""
        return False


class CLIPTrainer(SavingTrainer):
    """Base of all trainers. A subclass has a ``registered_name`` and a ``build_method``."""

    def check_cfg(self, cfg: Any) -> None:
        """Raises ValueError for an unknown precision or protocol, words that make no prompt, or as ``engine.check``."""
        engine.check(cfg)
        precision = self.precision_of(cfg)
        if precision not in PRECISIONS:
            raise ValueError(f"{self.settings_key(cfg)}.PREC is {precision!r}: choose one of {', '.join(PRECISIONS)}")
        if cfg.TASK not in ("B2N", "CD", "FS"):
            raise ValueError(f"TASK is {cfg.TASK!r}: choose B2N (base to new), CD (cross-dataset) or FS (few-shot)")
        check_texts(cfg, self.settings_key(cfg), self.settings_of(cfg))
        if cfg.OFFICIAL_STREAM and cfg.SEED < 0:
            raise ValueError("--official-stream (OFFICIAL_STREAM) needs a seed: add --seed 1")

    @classmethod
    def precision_of(cls, cfg: Any) -> str:
        """``PREC`` of the method's node."""
        return cls.settings_of(cfg).PREC

    @classmethod
    def unread(cls, cfg: Any) -> str:
        """Say in one line which given setting has no effect beside another, or nothing."""
        return ""

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> Method:
        """The method's module over frozen CLIP for these classes; needs neither data nor a trainer."""
        raise NotImplementedError

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """What the method's public code draws with these settings until training begins, in order.

        On torch's generator, from its seed on: CLIPs that it builds and tensors that it does not use included.
        Raises ``official_stream.Unknown`` where there is no public code, or its draws are not known here.
        """
        raise official_stream.Unknown(
            f"what the public code of {cfg.TRAINER.NAME} draws is not known here; "
            "leave it out (docs/coming-from-coop.md lists the methods that have it)"
        )

    @classmethod
    def official_dtype(cls, cfg: Any) -> torch.dtype:
        """In what public codes draw tensors that have CLIP's dtype."""
        return torch.float16 if cls.precision_of(cfg) == "fp16" else torch.float32

    def build_model(self) -> None:
        """Load CLIP, build the method, its optimiser and schedule."""
        cfg = self.cfg
        self.notes: dict[str, str] = {}
        self.precision = effective_precision(self.precision_of(cfg), self.device)
        self.trained_on = cfg.DATASET.NAME
        if unread := self.unread(cfg):
            self.note("settings", unread)
        checkpoint = find(cfg.MODEL.BACKBONE.NAME)
        self.weights = weights_id(checkpoint)
        # Not every file can tell that it is damaged: by its digest two runs can be told to have had the same.
        print(
            f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME}, precision: {self.precision}, weights: {self.weights})"
        )
        if line := same_prompts(cfg, self.dm.dataset.classnames):
            self.note("same_prompts", line)
        clip_model = load_clip(checkpoint, self.precision, self.device)
        for kind, line in unknowns(cfg.MODEL.BACKBONE.NAME, checkpoint).items():
            self.note(kind, line)
        check_input(cfg.INPUT, cfg.MODEL.BACKBONE.NAME, checkpoint, clip_model.visual.input_resolution)
        with self.autocast():
            self.model = self.build_method(cfg, clip_model, list(self.dm.dataset.classnames)).to(self.device)
            self.prepare_method()
        self.start_as_public_code()
        scale = self.precision == "amp"
        self.scaler = torch.amp.GradScaler(self.device.type) if scale else None
        self.compute_loss = self.model.loss
        if cfg.TRAINER.COMPILE:
            self.compute_loss = compiled(self.model.loss, self.device)
        learned = sum(p.numel() for p in self.model.parameters())
        if not learned:
            return
        print(f"Learned parameters: {learned:,}")
        self.build_optim()
        self.register_model(self.registered_name, self.model, self.optim, self.sched)

    def start_as_public_code(self) -> None:
        """Do as OFFICIAL_STREAM says. Raises ``official_stream.Unknown`` where it insists on what cannot be had."""
        cfg = self.cfg
        self.follows_public_code = False
        if cfg.OFFICIAL_STREAM is False or cfg.SEED < 0:
            return
        try:
            draws = list(self.official_draws(cfg, self.model))
        except official_stream.Unknown:
            if cfg.OFFICIAL_STREAM:
                raise
            return
        official_stream.stand(self.model, draws, cfg.SEED)
        print("Initial tensors and random stream: those of the method's public code with this seed")
        self.follows_public_code = True

    def note(self, kind: str, line: str) -> None:
        """Say once what a reader of the result should know, and keep it for the run's record under ``kind``."""
        print(f"note: {line}")
        self.notes[kind] = line

    def prepare_method(self) -> None:
        """Hook: what the method needs of the training data before its optimiser is built."""

    def build_optim(self) -> None:
        """Set ``optim`` and ``sched``."""
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)

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
        self.after_update(labels)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": value, "acc": percent}

    def after_update(self, labels: Tensor) -> None:
        """Hook: what else a step does, labels ``[B]``."""

    def parse_batch_train(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Images ``[B, 3, H, W]`` and labels ``[B]`` on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))  # type: ignore[return-value]

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate; class features are computed once for it and dropped afterwards."""
        self.set_model_mode("eval")
        self.model.use_classes(self.seen_classes())
        with self.autocast():
            self._class_features = self.model.class_features()
        try:
            return super().test(split)
        finally:
            del self._class_features

    def seen_classes(self) -> bool:
        """True where the classes scored are those trained on."""
        if self.cfg.TASK == "CD" and self.cfg.DATASET.NAME != self.trained_on:
            return False
        if self.cfg.TASK != "CD" and self.cfg.DATASET.SUBSAMPLE_CLASSES == "new":
            return False
        # Own data sets share their loaders' names, and a model of base classes may be tested on all.
        return self.trained_classes in (None, list(self.dm.dataset.classnames))

    def model_inference(self, images: Tensor) -> Tensor:
        """Scores ``[B, C]`` of a batch of images, within ``test``."""
        with self.autocast():
            return in_passes(lambda part: self.model.scores(part, self._class_features), images)


def in_passes(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Scores ``[B, C]`` of images ``[B, 3, H, W]``, on a CPU few at a time: hidden states of many leave its caches."""
    if images.device.type != "cpu" or len(images) <= CPU_PASS:
        return score(images)
    return torch.cat([score(part) for part in images.split(CPU_PASS)])


def effective_precision(asked: str, device: torch.device) -> str:
    """The precision that runs: amp (fp16 autocast with loss scaling) needs CUDA; elsewhere it is fp32, and said."""
    if asked == "amp" and device.type != "cuda":
        print(f"PREC amp needs CUDA; on {device.type} this run uses fp32")
        return "fp32"
    return asked


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The autocast region of a precision; none in fp32 and fp16."""
    dtype = {"amp": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """``torch.compile``; on CUDA, where a small batch is bound by kernel launches, they are recorded as CUDA graphs."""
    return torch.compile(function, mode="reduce-overhead" if device.type == "cuda" else "default")


def at_least_float32(x: Tensor) -> Tensor:
    """At least float32: features that enter a loss or a softmax are not kept in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def l2_normalize(features: Tensor) -> Tensor:
    """Features ``[..., d]`` divided by their L2 norm, at least in float32."""
    return F.normalize(at_least_float32(features), dim=-1)
