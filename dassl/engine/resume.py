"""How a trainer stops at any step and goes on exactly: what is saved, and where the data stood."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from dassl.utils.torchtools import resume_from_checkpoint

from .rng import get_rng_state, set_rng_state
from .rolling import RollingFile
from .stream import BatchStream


class Preempted(BaseException):
    """The run was asked to stop, and has. No error: the same command goes on with it."""


class Resumable:
    """The part of a trainer that saves and restores all that decides how training goes on."""

    epoch = 0
    batch_idx = 0
    num_batches = 0
    output_dir = ""
    best_result: float = -math.inf
    _models: OrderedDict[str, nn.Module]
    _optims: OrderedDict[str, Any]
    _scheds: OrderedDict[str, Any]

    def init_resume(self) -> None:
        """Start without a place in the data, and with nobody asking for a stop."""
        self._streams: list[BatchStream] = []
        self._mid_epoch: dict[str, Any] | None = None  # the state to go on from, until its epoch begins
        self._in_epoch = False
        self._stop_requested = False

    def get_model_names(self, names: Any = None) -> list[str]:
        """Return the names of the models."""
        raise NotImplementedError

    def depends_on(self) -> str:
        """Return what else a rolling file belongs to, such as a digest of frozen weights; "" for nothing."""
        return ""

    def data_facts(self) -> dict[str, Any]:
        """Return plain values that tell the images of this training from others; {} for nothing."""
        return {}

    def data_changes(self, told: dict[str, Any]) -> str:
        """Return how the images differ from those of which `data_facts` told this, in one line; "" if they do not."""
        return ""

    def extra_state(self) -> dict[str, Any]:
        """Return what else decides how training goes on, tensors and plain values, for `load_extra_state`."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` gave."""

    def save_resume_state(self, directory: str, step: int = 0) -> None:
        """Replace the rolling file from which `resume_model_if_exist` goes on.

        After the current epoch or, with `step`, after that many of its batches (which `open_streams` must give).
        """
        scaler = getattr(self, "scaler", None)
        state = {
            "epoch": self.epoch if step else self.epoch + 1,
            "step": step,
            "places": [stream.place() for stream in self._streams] if step else [],
            "best_result": float(self.best_result),
            "models": {name: model.state_dict() for name, model in self._models.items()},
            "optims": {n: None if o is None else o.state_dict() for n, o in self._optims.items()},
            "scheds": {n: None if s is None else s.state_dict() for n, s in self._scheds.items()},
            "scaler": None if scaler is None else scaler.state_dict(),
            "rng": get_rng_state(),
            "depends_on": self.depends_on(),
            "data": self.data_facts(),
            "extra": self.extra_state(),
        }
        RollingFile(directory).write(state)

    def resume_model_if_exist(self, directory: str) -> int:
        """Continue from the rolling file in `directory`, else from its last checkpoints.

        Returns the next epoch: 0 if there is neither. ValueError if the file belongs to other models or is
        damaged, and so is the one before it.
        """
        if RollingFile(directory).exists():
            return self._load_resume_state(directory)
        names = self.get_model_names()
        pointers = [Path(directory) / name / "checkpoint" for name in names]
        if not names or not all(pointer.is_file() for pointer in pointers):
            print("No checkpoint found, train from scratch")
            return 0
        if not all(".pth.tar" in pointer.read_text(encoding="utf-8", errors="replace") for pointer in pointers):
            line = f"the checkpoints in {directory} hold no state of the optimiser, and there is no resume.pth.tar"
            if Path(directory) != Path(self.output_dir):
                raise ValueError(f"cannot resume: {line}")
            print(f"note: {line}: train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        return min(
            resume_from_checkpoint(Path(directory) / name, self._models[name], self._optims[name], self._scheds[name])
            for name in names
        )

    def _load_resume_state(self, directory: str) -> int:
        file = RollingFile(directory)
        state = file.read()
        if state.get("models", {}).keys() != self._models.keys():
            raise ValueError(f"cannot resume from {file.path}: it holds other models than {list(self._models)}")
        if state.get("depends_on", "") not in ("", self.depends_on()):
            raise ValueError(
                f"cannot resume from {file.path}: it belongs to {state['depends_on']}, not {self.depends_on()}"
            )
        changed = self.data_changes(told) if (told := state.get("data")) else ""
        if changed:
            raise ValueError(
                f"cannot resume from {file.path}: it was trained on other data: {changed}; put the data back as they "
                "were, or train again in another folder"
            )
        try:
            self._restore(state)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"cannot resume from {file.path}: it does not fit this run ({reason})") from error
        step = state.get("step", 0)
        where = f"in epoch {state['epoch'] + 1} after batch {step}" if step else f"after epoch {state['epoch']}"
        print(f"Found {file.path} (will resume training {where})")
        return state["epoch"]

    def _restore(self, state: dict[str, Any]) -> None:
        for name, model in self._models.items():
            model.load_state_dict(state["models"][name])
        for kind, objects in (("optims", self._optims), ("scheds", self._scheds)):
            for name, obj in objects.items():
                if obj is not None:
                    obj.load_state_dict(state[kind][name])
        if state["scaler"] is not None and getattr(self, "scaler", None) is not None:
            self.scaler.load_state_dict(state["scaler"])  # type: ignore[attr-defined]
        self.load_extra_state(state.get("extra", {}))
        self.best_result = state["best_result"]
        set_rng_state(state["rng"])
        self._mid_epoch = state if state.get("step") else None

    def request_stop(self) -> None:
        """Stop after the training step at hand, with all saved; outside an epoch's steps at once, by Preempted.

        For a signal handler. A trainer whose own `run_epoch` does not call `end_step` stops after the epoch.
        """
        self._stop_requested = True
        if not self._in_epoch:
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

    def end_step(self, frequency: int) -> None:
        """Save the rolling file after every `frequency` steps (0: after epochs only); stop if that was requested."""
        done = self.batch_idx + 1
        due = frequency > 0 and done % frequency == 0 and done < self.num_batches
        if self.output_dir and self._models and (due or self._stop_requested):
            self.save_resume_state(self.output_dir, step=done)
        if self._stop_requested:
            raise Preempted
