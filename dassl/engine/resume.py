"""How a trainer stops at any step and goes on exactly: what is saved, and where the data stood."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from dassl.utils.torchtools import resume_from_checkpoint

from .rng import get_rng_state, set_rng_state
from .rolling import RollingFile
from .stream import BatchStream

if TYPE_CHECKING:
    from .base import TrainerBase

PAUSE = 1.0  # seconds; a save waits for the disk, and shorter epochs are done again as soon


class Preempted(BaseException):
    """The run was asked to stop, and has. No error: the same command goes on with it."""


class Resumption:
    """What a trainer has to stop at any step and go on exactly: the place in the data, and whether it is to stop.

    Its methods take the trainer, whose models, optimisers, schedules and hooks (`TrainerBase`) they read and set.
    """

    def __init__(self) -> None:
        self._streams: list[BatchStream] = []
        self._mid_epoch: dict[str, Any] | None = None  # the state to go on from, until its epoch begins
        self._stop_requested = False
        self._saved = -math.inf  # when, as time.monotonic has it
        self._pause = PAUSE
        self.in_epoch = False

    def save(self, trainer: TrainerBase, directory: str, step: int = 0) -> None:
        """Replace the rolling file from which `load` goes on.

        After the current epoch or, with `step`, after that many of its batches (which `open_streams` must give).
        """
        scaler = getattr(trainer, "scaler", None)
        state = {
            "epoch": trainer.epoch if step else trainer.epoch + 1,
            "step": step,
            "places": [stream.place() for stream in self._streams] if step else [],
            "best_result": float(trainer.best_result),
            "models": {name: model.state_dict() for name, model in trainer._models.items()},
            "optims": {n: None if o is None else o.state_dict() for n, o in trainer._optims.items()},
            "scheds": {n: None if s is None else s.state_dict() for n, s in trainer._scheds.items()},
            "scaler": None if scaler is None else scaler.state_dict(),
            "rng": get_rng_state(),
            "depends_on": trainer.depends_on(),
            "data": trainer.data_facts(),
            "extra": trainer.extra_state(),
        }
        RollingFile(directory).write(state)
        self._saved = time.monotonic()

    def load(self, trainer: TrainerBase, directory: str) -> int:
        """Continue as `TrainerBase.resume_model_if_exist` says, and return the next epoch."""
        if RollingFile(directory).exists():
            return self._load_state(trainer, directory)
        names = trainer.get_model_names()
        pointers = [Path(directory) / name / "checkpoint" for name in names]
        if not names or not all(pointer.is_file() for pointer in pointers):
            print("No checkpoint found, train from scratch")
            return 0
        if not all(".pth.tar" in pointer.read_text(encoding="utf-8", errors="replace") for pointer in pointers):
            line = f"the checkpoints in {directory} hold no state of the optimiser, and there is no resume.pth.tar"
            if Path(directory) != Path(trainer.output_dir):
                raise ValueError(f"cannot resume: {line}")
            print(f"note: {line}: train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        parts = ((name, trainer._models[name], trainer._optims[name], trainer._scheds[name]) for name in names)
        return min(resume_from_checkpoint(Path(directory) / name, *objects) for name, *objects in parts)

    def _load_state(self, trainer: TrainerBase, directory: str) -> int:
        file = RollingFile(directory)
        state = file.read()
        if state.get("models", {}).keys() != trainer._models.keys():
            raise ValueError(f"cannot resume from {file.path}: it holds other models than {list(trainer._models)}")
        if state.get("depends_on", "") not in ("", trainer.depends_on()):
            raise ValueError(
                f"cannot resume from {file.path}: it belongs to {state['depends_on']}, not {trainer.depends_on()}"
            )
        changed = trainer.data_changes(told) if (told := state.get("data")) else ""
        if changed:
            raise ValueError(
                f"cannot resume from {file.path}: it was trained on other data: {changed}; put the data back as they "
                "were, or train again in another folder"
            )
        try:
            self._restore(trainer, state)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"cannot resume from {file.path}: it does not fit this run ({reason})") from error
        step = state.get("step", 0)
        where = f"in epoch {state['epoch'] + 1} after batch {step}" if step else f"after epoch {state['epoch']}"
        print(f"Found {file.path} (will resume training {where})")
        return state["epoch"]

    def _restore(self, trainer: TrainerBase, state: dict[str, Any]) -> None:
        for name, model in trainer._models.items():
            model.load_state_dict(state["models"][name])
        for kind, objects in (("optims", trainer._optims), ("scheds", trainer._scheds)):
            for name, obj in objects.items():
                if obj is not None:
                    obj.load_state_dict(state[kind][name])
        if state["scaler"] is not None and getattr(trainer, "scaler", None) is not None:
            trainer.scaler.load_state_dict(state["scaler"])
        trainer.load_extra_state(state.get("extra", {}))
        trainer.best_result = state["best_result"]
        set_rng_state(state["rng"])
        self._mid_epoch = state if state.get("step") else None

    def request_stop(self) -> None:
        """Stop after the training step at hand, with all saved; outside an epoch's steps at once, by Preempted."""
        self._stop_requested = True
        if not self.in_epoch:
            raise Preempted

    def open_streams(self, *loaders: DataLoader, endless: bool = False) -> tuple[list[BatchStream], int]:
        """Return the batches of an epoch, and how many of its steps are done: 0 unless it is resumed in its middle."""
        self._streams = [BatchStream(loader, endless) for loader in loaders]
        state, self._mid_epoch = self._mid_epoch, None
        if state is None:
            return self._streams, 0
        for stream, place in zip(self._streams, state["places"], strict=True):
            stream.go_to(place)
        set_rng_state(state["rng"])
        return self._streams, state["step"]

    def end_step(self, trainer: TrainerBase, frequency: int) -> None:
        """Save the rolling file after every `frequency` steps (0: after epochs only); stop if that was requested."""
        done = trainer.batch_idx + 1
        self._pause = 0.0 if frequency else PAUSE
        due = frequency > 0 and done % frequency == 0 and done < trainer.num_batches
        self._save_or_stop(trainer, due or self._stop_requested, done)

    def end_epoch(self, trainer: TrainerBase) -> None:
        """Save the rolling file, unless it is younger than PAUSE and no frequency was asked for; stop if requested."""
        self._save_or_stop(trainer, self._stop_requested or time.monotonic() - self._saved >= self._pause)

    def _save_or_stop(self, trainer: TrainerBase, due: bool, step: int = 0) -> None:
        if due and trainer.output_dir and trainer._models:
            trainer.save_resume_state(trainer.output_dir, step)
        if self._stop_requested:
            raise Preempted
