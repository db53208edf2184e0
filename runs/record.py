"""The record of a run, `record.json` in its folder: what the run is, how far it came, what came out.

A run is done when its record is readable, says `success` and carries the same configuration.
`running` is also what a killed run leaves behind; one that was asked to stop (SIGTERM) leaves `preempted`.
Nothing here imports torch: a finished run is seen at once.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from common.files import write_json, write_text
from runs.config import RESOLVED, flatten, read_yaml
from runs.engine import cpu_seconds

RECORD = "record.json"
LOCK = "run.lock"
NONE: Mapping[str, Any] = MappingProxyType({})


class DamagedRecord(ValueError):
    """A record that cannot be read as one."""


class ConfigDiffers(ValueError):
    """The folder holds a run of another configuration."""


class DataDiffers(ValueError):
    """The folder holds a run on other data."""


def read(directory: str | Path) -> dict[str, Any] | None:
    """Read the record in `directory`, or None when there is none. Raises DamagedRecord naming the file."""
    path = Path(directory) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        sound = isinstance(record, dict) and record.pop("checksum", None) == digest(record)
    except FileNotFoundError:
        return None
    except ValueError as error:  # not JSON (NaN is none), or not even text
        raise DamagedRecord(f"{path} is damaged ({error})") from error
    if not sound:
        raise DamagedRecord(f"{path} is damaged (its checksum does not fit)")
    return record


def write(directory: Path, record: dict[str, Any]) -> None:
    """Write the record, with a checksum that `read` verifies."""
    write_json(directory / RECORD, {**record, "checksum": digest(record)})


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 over JSON content, whatever the order of its keys. ValueError for NaN: JSON has none."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def differences(old: dict[str, Any], new: dict[str, Any], defaults: Mapping[str, Any] = NONE) -> list[str]:
    """List `key: old -> new` for each setting that differs, by key; what only one side has shows as `(none)`.

    A key that `old` lacks has its value in `defaults`, if there is one.
    """
    old = {**{key: defaults[key] for key in new if key in defaults}, **old}
    keys = [key for key in sorted({*old, *new}) if old.get(key, "(none)") != new.get(key, "(none)")]
    return [f"{key}: {old.get(key, '(none)')} -> {new.get(key, '(none)')}" for key in keys]


class Run:
    """One run in one folder.

    Args:
        directory: the run's folder; made by `start`, not before.
        identity: every setting that can change the result, flat; its hash tells runs apart.
        about: facts that the record repeats for its readers (method, dataset, shots, ...).
        defaults: values of keys of `identity` that a record may lack, being older than they are.
        same_data: sees that the data of a record are still there, as `runs.data.DataCheck` does.

    Attributes:
        started: when the attempt at hand began, as `time.monotonic` has it; `cpu_started` likewise in processor time.
    """

    def __init__(
        self,
        directory: str | Path,
        identity: dict[str, Any],
        about: dict[str, Any],
        defaults: Mapping[str, Any] = NONE,
        same_data: Callable[[Path, dict[str, Any]], str] = lambda folder, content: "",
    ) -> None:
        self.directory = Path(directory)
        self._same_data = same_data
        self.identity: dict[str, Any] = json.loads(json.dumps(identity, allow_nan=False))
        self.defaults: dict[str, Any] = json.loads(json.dumps(dict(defaults), allow_nan=False))
        self.about = about
        self._record: dict[str, Any] = {}
        self.started, self.cpu_started = time.monotonic(), cpu_seconds()

    def state(self) -> tuple[str, str]:
        """Return what stands in the folder: (none, running, preempted, failed or success; a line to print or "").

        Reads only.

        Raises:
            ConfigDiffers: a run of another configuration stands there; shows the differing keys, old -> new.
            DataDiffers: a finished run on other data stands there; shows what has changed.
        """
        note = ""
        try:
            record = read(self.directory)
        except DamagedRecord as error:
            record, note = (None, f"{error}: the run counts as unfinished, and the record is kept under another name")
        if record is None:
            written = self._written_config()
            self._refuse(written, {key: self.identity[key] for key in written})
            return "none", note
        if record["status"] == "failed" and not self._has_learned():
            return "failed", note  # it came to nothing, so another configuration loses nothing
        self._refuse(record["config"], self.identity)
        if record["status"] == "success":
            note = self._same_data(self.directory, record)
        return record["status"], note

    def start(self, resolved: str, facts: dict[str, Any]) -> None:
        """Mark the run as running and write its resolved configuration (YAML). Moves a damaged record aside."""
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            earlier = read(self.directory) or {}
        except DamagedRecord:
            earlier = {}
            path = self.directory / RECORD
            path.rename(path.with_name(f"{RECORD}.damaged-{datetime.now():%Y%m%d-%H%M%S-%f}"))
        write_text(self.directory / RESOLVED, resolved)
        same = "config" in earlier and not differences(earlier["config"], self.identity, self.defaults)
        data = earlier.get("data") if same and self._has_learned() else None
        self._record = {
            "status": "running",
            **self.about,
            **facts,
            "run_id": earlier.get("run_id", "") if same else uuid.uuid4().hex,
            "attempts": earlier.get("attempts", 0) + 1 if same else 1,
            "started": _now(),
            "finished": None,
            "config_hash": digest(self.identity),
            "config_file": hashlib.sha256(resolved.encode()).hexdigest(),
            "config": self.identity,
            **({"data": data} if data else {}),
        }
        self.started, self.cpu_started = time.monotonic(), cpu_seconds()
        write(self.directory, self._record)

    @property
    def data(self) -> dict[str, Any] | None:
        """What the started attempt's record says of its data: of an earlier one that learned something, until `add`."""
        return self._record.get("data")

    def add(self, facts: Mapping[str, Any]) -> None:
        """Put facts into the record of the attempt at hand."""
        self._record |= facts
        write(self.directory, self._record)

    def succeed(self, results: dict[str, Any]) -> None:
        """Mark the run as done, with its results."""
        self._close("success", results)

    def fail(self, error: str, facts: dict[str, Any]) -> None:
        """Mark the run as failed, with the error's line."""
        self._close("failed", {"error": error, **facts})

    def preempt(self, facts: Mapping[str, Any] = NONE) -> None:
        """Mark the run as stopped on request: what it needs to go on is saved."""
        self._close("preempted", facts)

    def _close(self, status: str, facts: Mapping[str, Any]) -> None:
        wall, cpu = time.monotonic() - self.started, cpu_seconds() - self.cpu_started
        last = {"status": status, "finished": _now(), "wall_seconds": round(wall, 3), "cpu_seconds": round(cpu, 3)}
        # The bulky configuration stays at the end, where a reader of the file does not trip over it.
        tail = {key: self._record.pop(key) for key in ("config_hash", "config_file", "config")}
        self._record = {**self._record, **last, **facts, **tail}
        write(self.directory, self._record)

    def _has_learned(self) -> bool:
        return any(next(self.directory.rglob(pattern), None) for pattern in ("*.safetensors", "*.pth.tar*"))

    def _written_config(self) -> dict[str, Any]:
        """The identity as far as `config.yaml` tells it: what is left to go by when the record is gone."""
        path = self.directory / RESOLVED
        tree = read_yaml(path) if path.is_file() else {}
        return {key: value for key, value in flatten(tree) if key in self.identity}

    def _refuse(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        changed = differences(old, new, self.defaults)
        if changed:
            more = f" (and {len(changed) - 8} more)" if len(changed) > 8 else ""
            raise ConfigDiffers(
                f"{self.directory} holds a run of another configuration: {'; '.join(changed[:8])}{more}; "
                "choose another output folder, or remove this one"
            )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
