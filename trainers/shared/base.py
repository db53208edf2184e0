"""What all methods share: CLIP in the asked precision, the step, evaluation; checkpoints are in ``saving``.

From Dassl only names of the public package are used.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clip.draws import Draw
from clip.model import CLIP
from clip.weights import find
from dassl.optim import build_lr_scheduler, build_optimizer

from .. import plugins
from ..plugins.contract import parameter_groups, plug
from . import engine, official_stream, seeds
from .backbone import check_input, check_method, load_clip, unknowns, weights_id
from .cached_features import CachedFeatures, generators_untouched
from .cosine import frozen_features
from .graphs import CUDAGraphs, GraphedPass
from .method import Method
from .saving import SavingTrainer
from .templates import check_texts, same_prompts, tokenizer_of

CPU_PASS = 32  # images scored at a time
FEW = 2**18  # learned values; in steps over features with so few, threads wait for each other more than they work


class CLIPTrainer(SavingTrainer):
    """Base of all trainers. A subclass has a ``registered_name`` and a ``build_method``."""

    # Whether all that the method takes of an image is ``cosine.frozen_features``: then FEATURES.ONCE is open to it.
    on_frozen_features = False
    features_projected = True  # whether it takes them in the joint space, or as they are before the projection
    # Why a step of fixed shapes is no CUDA graph: it waits for values, or what it launches differs from step to step.
    not_graphed = ""

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError naming the key whose value is not allowed, or as ``engine.check`` does."""
        engine.check(cfg)
        check_method(cfg.MODEL.BACKBONE.NAME, cfg.TRAINER.NAME, self.on_frozen_features)
        settings = self.settings_of(cfg)
        if cfg.TASK not in ("B2N", "CD", "FS", "JOINT"):
            known = "B2N (base to new), CD (cross-dataset), FS (few-shot) or JOINT (base and new in one label space)"
            raise ValueError(f"TASK is {cfg.TASK!r}: choose {known}")
        check_texts(cfg, settings)
        if cfg.FEATURES.ONCE and not self.on_frozen_features:
            raise ValueError(
                f"FEATURES.ONCE: {cfg.TRAINER.NAME} works within CLIP's towers, so their features are not enough: "
                "leave it out (docs/features.md lists the methods that can)"
            )
        if cfg.FEATURES.VIEWS > 1 and not cfg.FEATURES.ONCE:
            raise ValueError(f"FEATURES.VIEWS {cfg.FEATURES.VIEWS} needs FEATURES.ONCE True")
        if cfg.OFFICIAL_STREAM and cfg.SEED < 0:
            raise ValueError("--official-stream (OFFICIAL_STREAM) needs a seed: add --seed 1")

    @classmethod
    def precision_of(cls, cfg: Any) -> str:
        """Return the precision asked for."""
        return cls.settings_of(cfg).prec

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> Method:
        """Return the method's module over frozen CLIP for these classes; needs neither data nor a trainer."""
        raise NotImplementedError

    @classmethod
    def official_draws(cls, cfg: Any, model: Any) -> Iterable[Draw]:
        """Yield what the method's public code draws with these settings until training begins, in order.

        On torch's generator, from its seed on: CLIPs that it builds and tensors that it does not use included.
        Raises ``official_stream.Unknown`` where there is no public code, or its draws are not known here.
        """
        raise official_stream.Unknown(
            f"what the public code of {cfg.TRAINER.NAME} draws is not known here; "
            "leave it out (docs/coming-from-coop.md lists the methods that have it)"
        )

    @classmethod
    def official_dtype(cls, cfg: Any) -> torch.dtype:
        """Return the dtype in which public codes draw tensors that have CLIP's dtype."""
        return torch.float16 if cls.precision_of(cfg) == "fp16" else torch.float32

    def build_model(self) -> None:
        """Load CLIP, build the method, its optimiser and schedule."""
        cfg = self.cfg
        self.notes: dict[str, str] = {}
        self.precision = effective_precision(self.precision_of(cfg), self.device)
        self.trained_on = cfg.DATASET.NAME
        if unread := self.settings.unread():
            self.note("settings", unread)
        checkpoint = find(cfg.MODEL.BACKBONE.NAME)
        self.weights = weights_id(checkpoint)
        # Not every file can tell that it is damaged: by its digest two runs can be told to have had the same.
        print(
            f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME}, precision: {self.precision}, weights: {self.weights})"
        )
        clip_model = load_clip(checkpoint, self.precision, self.device)
        if line := same_prompts(cfg, self.dm.dataset.classnames, tokenizer_of(clip_model)):
            self.note("same_prompts", line)
        for kind, line in unknowns(cfg.MODEL.BACKBONE.NAME, checkpoint).items():
            self.note(kind, line)
        check_input(cfg.INPUT, cfg.MODEL.BACKBONE.NAME, checkpoint, clip_model.visual.input_resolution)
        if cfg.FEATURES.ONCE:
            self.use_cached_features(clip_model)
        with self.autocast():
            self.model = self.build_method(cfg, clip_model, list(self.dm.dataset.classnames)).to(self.device)
            self.prepare_method()
        self.start_as_public_code()
        with self.autocast():
            self.plugged = plug(self.model, cfg, self.dm.dataset.classnames)  # the model itself without TRAINER.PLUGINS
        scale = self.precision == "amp"
        self.scaler = torch.amp.GradScaler(self.device.type) if scale else None
        self.compute_loss, self.do_pass = self.plugged.loss, self.run_pass
        self.unchecked: list[tuple[Tensor, str]] = []  # losses of steps since one was read, and whose they are
        if cfg.TRAINER.COMPILE:
            self.compute_loss = compiled(self.plugged.loss, self.device)
        learned = sum(p.numel() for p in self.model.parameters())
        if not learned:
            return
        print(f"Learned parameters: {learned:,}")
        self.build_optim()
        self.register_model(self.registered_name, self.model, self.optim, self.sched)
        if self.device.type == "cuda" and self.optim is not None and not cfg.TRAINER.COMPILE:  # which has its own
            self.replay_passes(CUDAGraphs(self.device))

    def use_cached_features(self, clip_model: CLIP) -> None:
        """Let the loaders give features of the frozen image tower, computed once, instead of pixels."""

        usual = torch.get_num_threads()

        def encode(images: Tensor) -> Tensor:
            with self.autocast(), threads(usual):
                tower = partial(frozen_features, clip_model, projected=self.features_projected)
                return in_passes(tower, images.to(self.device))

        tower = {"weights": self.weights, "precision": self.precision}
        if not self.features_projected:
            tower["features"] = "before the projection"
        tested: Any = self.dm.test_loader.dataset
        source = CachedFeatures(self.cfg, tower, encode, tested.transform)
        for owner in (self, self.dm):
            for name in ("train_loader_x", "val_loader", "test_loader"):
                if (loader := getattr(owner, name)) is not None:
                    setattr(owner, name, source.over(loader, train=name == "train_loader_x"))

    def start_as_public_code(self) -> None:
        """Do as OFFICIAL_STREAM says. Raises ``official_stream.Unknown`` where it insists on what cannot be had."""
        cfg = self.cfg
        self.follows_public_code = False
        if cfg.OFFICIAL_STREAM is False or cfg.SEED < 0:
            return
        try:
            if not plugins.draws_as_public_code(cfg):
                raise official_stream.Unknown(f"what public code of {plugins.title(cfg)} draws is not known here")
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
        """Prepare what the method needs of the training data before its optimiser is built; a hook."""

    def build_optim(self) -> None:
        """Set ``optim`` and ``sched``."""
        self.optim = self.build_optimizer()
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of what is learned; plug-ins may learn at a rate of their own."""
        if self.plugged is self.model:
            return build_optimizer(self.model, self.cfg.OPTIM)
        groups = parameter_groups(self.plugged, self.cfg.OPTIM.LR)
        return build_optimizer(self.model, self.cfg.OPTIM, groups)

    @torch.no_grad()
    def fit_plugins(self) -> None:
        """Let plug-ins find their numbers on validation images; nothing is drawn for it."""
        if self.plugged is self.model or not self.plugged.fits:
            return
        from .features import loader_of, validation_images  # which are built on this module

        loader = loader_of(self.cfg, validation_images(self.cfg, self.dm.dataset, few=True), self.test_loader)
        self.set_model_mode("eval")
        self.plugged.use_classes(True)
        with generators_untouched(), self.autocast():
            self.plugged.fit(lambda: (self.parse_batch_test(batch) for batch in loader))

    def run_epoch(self) -> None:
        """Train on all batches once; on features and a CPU with one thread, where little is learned."""
        learned = sum(p.numel() for p in self.model.parameters())
        alone = self.steps_take_features() and self.device.type == "cpu" and learned <= FEW
        with threads(1 if alone else torch.get_num_threads()):
            super().run_epoch()

    def steps_take_features(self) -> bool:
        """Return whether training steps begin with features of images, not with pixels."""
        return self.cfg.FEATURES.ONCE

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the autocast region of this run's steps and evaluations."""
        return autocast(self.precision, self.device)

    def replay_passes(self, graphs: Any) -> None:
        """Let steps of one shape be replayed as a CUDA graph; say why where the method or the user has them not."""
        unknown = "" if self.plugged is self.model else "TRAINER.PLUGINS is given, and no plug-in was tried as one"
        why = self.not_graphed or unknown or ("" if self.cfg.TRAINER.CUDA_GRAPHS else "TRAINER.CUDA_GRAPHS is False")
        if why:
            print(f"Steps are not replayed as a CUDA graph: {why}")
            return
        learned = [value for group in self.optim.param_groups for value in group["params"]]
        self.do_pass = GraphedPass(self.run_pass, learned, graphs, self.note)

    def run_pass(self, images: Tensor, labels: Tensor) -> Tensor:
        """Set the gradients of images ``[B, 3, H, W]`` and labels ``[B]``; return loss and accuracy ``[2]``."""
        with self.autocast():
            loss, scores = self.compute_loss(images, labels)
        self.optim.zero_grad()
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return seeds.numbers(loss, scores, labels)

    def forward_backward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Do one step. Raises FloatingPointError naming the batch where the loss is not finite.

        A CPU sees that before the update. Elsewhere a step waits for no value: the losses are looked at every
        TRAIN.PRINT_FREQ steps and before anything is saved.
        """
        images, labels = self.parse_batch_train(batch)
        loss, accuracy = numbers = self.do_pass(images, labels)
        where = f"epoch {self.epoch + 1}, batch {self.batch_idx + 1} (first image: {batch['impath'][0]})"
        self.unchecked.append((loss, where))
        last, due = self.batch_idx + 1 == self.num_batches, (self.batch_idx + 1) % self.cfg.TRAIN.PRINT_FREQ == 0
        if last or due or self.device.type == "cpu":
            self.check_losses()
            loss, accuracy = numbers.tolist()
        self.update(labels)
        if last:
            self.update_lr()
        return {"loss": loss, "acc": accuracy}

    def update(self, labels: Tensor) -> None:
        """Update the learned tensors by their gradients, and do what else a step has for labels ``[B]``."""
        if self.scaler is None:
            self.optim.step()
        else:
            self.scaler.step(self.optim)
            self.scaler.update()
        self.after_update(labels)

    def check_losses(self) -> None:
        """Raise FloatingPointError naming the first step since the last call whose loss is not finite."""
        seen, self.unchecked = self.unchecked, []
        values = torch.stack([loss for loss, _ in seen]).tolist() if seen else []
        for value, (_, where) in zip(values, seen, strict=True):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss is {value} at {where}: training stops, the last checkpoint is kept; "
                    "lower OPTIM.LR or use PREC fp32"
                )

    def save_resume_state(self, directory: str, step: int = 0) -> None:
        """Keep what training goes on from, once all losses so far are known to be finite."""
        self.check_losses()
        super().save_resume_state(directory, step)

    def after_update(self, labels: Tensor) -> None:
        """Do what else a step has, for labels ``[B]``; a hook."""

    def parse_batch_train(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return images ``[B, 3, H, W]`` and labels ``[B]`` on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))  # type: ignore[return-value]

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate; class features are computed once for it and dropped afterwards.

        Under ``TASK`` JOINT the scores by each of the method's rules stay in ``by_rule``, ``[B, R, C]`` by batch.
        """
        self.set_model_mode("eval")
        self.by_rule: list[Tensor] = []
        if self.cfg.TASK == "JOINT":
            self.plugged.use_all_classes()
        else:
            self.plugged.use_classes(self.seen_classes())
        with self.autocast():
            self.class_features = self.plugged.class_features()
        try:
            return super().test(split)
        finally:
            del self.class_features

    def seen_classes(self) -> bool:
        """Return whether the classes scored are those trained on."""
        if self.cfg.TASK == "CD" and self.cfg.DATASET.NAME != self.trained_on:
            return False
        if self.cfg.TASK == "JOINT" or (self.cfg.TASK != "CD" and self.cfg.DATASET.SUBSAMPLE_CLASSES == "new"):
            return False
        # Own data sets share their loaders' names, and a model of base classes may be tested on all.
        return self.trained_classes in (None, list(self.dm.dataset.classnames))

    def model_inference(self, images: Tensor) -> Tensor:
        """Return scores ``[B, C]`` of a batch of images, within ``test``."""
        joint = self.cfg.TASK == "JOINT"
        score = self.plugged.joint_scores if joint else self.plugged.scores
        with self.autocast():
            scores = in_passes(lambda part: score(part, self.class_features), images)
        if not joint:
            return scores
        self.by_rule.append(scores.cpu())
        return scores[:, 0]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_passes(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return scores ``[B, ...]`` of images ``[B, 3, H, W]``; on a CPU few at a time, so that caches hold the states."""
    if images.device.type != "cpu" or len(images) <= CPU_PASS:
        return score(images)
    return torch.cat([score(part) for part in images.split(CPU_PASS)])


def effective_precision(asked: str, device: torch.device) -> str:
    """Return the precision that runs: amp (fp16 autocast, loss scaling) needs CUDA; elsewhere it is fp32.

    ``auto`` is amp on CUDA, bf16 on a processor that multiplies bfloat16, else fp32.
    """
    if asked == "auto":
        on_cpu = "bf16" if device.type == "cpu" and multiplies_bfloat16() else "fp32"
        return "amp" if device.type == "cuda" else on_cpu
    if asked == "amp" and device.type != "cuda":
        print(f"PREC amp needs CUDA; on {device.type} this run uses fp32")
        return "fp32"
    return asked


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor has AVX512_BF16 or AMX; False where Linux does not say."""
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(text.split())


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Return the autocast region of a precision; none in fp32 and fp16."""
    dtype = {"amp": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Compile a function; on CUDA as CUDA graphs, since kernel launches bound a small batch."""
    return torch.compile(function, mode="reduce-overhead" if device.type == "cuda" else "default")
