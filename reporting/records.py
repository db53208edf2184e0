"""Results from the records of this project's runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trainers
from reporting.changes import variant_by_settings
from reporting.names import dataset_stem, default_settings, variant_of
from reporting.result import Key, Result, Row
from runs import record

_PROTOCOLS = {
    ("B2N", "base"): "base2new",
    ("B2N", "new"): "base2new",
    ("CD", "all"): "xd",
    ("FS", "all"): "fewshot",
}


class NoResult(ValueError):
    """A record without a result for a table; the text says why."""


class Unfinished(NoResult):
    """A record of a run that has not come to its end; `key` is the cell that its result would be in."""

    def __init__(self, text: str, key: Key) -> None:
        super().__init__(text)
        self.key = key


def key_of(folder: Path, content: Mapping[str, Any]) -> Key:
    """The cell that a record belongs to. Raises NoResult for a run of no protocol."""
    subsample = content["subsample"]
    protocol = _PROTOCOLS.get((content["protocol"], subsample))
    if protocol is None:
        raise NoResult(f"{folder} belongs to no table: protocol {content['protocol']} with {subsample} classes")
    config = content["config"]
    own = config.get("DATASET.FOLDER") or Path(config.get("DATASET.TABLE", "")).stem
    dataset = dataset_stem(content["dataset"], own)
    method, shots = content["method"], content["shots"]
    source = dataset_stem(content.get("source") or "") if protocol == "xd" else dataset
    source = source or _source_from(content.get("model_dir")) or dataset
    default = default_settings(method, protocol, source, shots)
    named = _name_in_layout(folder, content)
    variant = variant_of(named or content.get("settings") or "", default)
    key = Key(protocol, config["MODEL.BACKBONE.NAME"], Row(method, variant), source, dataset, subsample, shots)
    return key if named else key._replace(row=Row(method, variant_by_settings(key, config)))


def _name_in_layout(folder: Path, content: Mapping[str, Any]) -> str:
    """What `shots_16/METHOD/CFG/seed1` calls the configuration, or "" for a folder of another kind."""
    settings, method, shots = (parent.name for parent in [*folder.parents, Path(), Path(), Path()][:3])
    here = (folder.name, trainers.ALIASES.get(method, method), shots)
    return settings if here == (f"seed{content['seed']}", content["method"], f"shots_{content['shots']}") else ""


def _source_from(model_dir: str | None) -> str:
    """The dataset in a path such as `xd/train/imagenet/shots_16/MMRL/cfg/seed1`: older records name no source."""
    parts = Path(model_dir or "").parts
    places = [index for index, part in enumerate(parts) if part.startswith("shots_")]
    return parts[places[-1] - 1] if places and places[-1] else ""


def read_result(folder: Path) -> Result:
    """The result in a run's folder.

    Raises:
        record.DamagedRecord: the record cannot be read as one.
        NoResult: it has no result (Unfinished: not yet).
    """
    content = record.read(folder)
    try:
        if content is None:
            raise NoResult(f"{folder} has no record")
        key = key_of(folder, content)
        if content["status"] != "success":
            error = f": {content['error']}" if content.get("error") else ""
            raise Unfinished(f"{folder} is not finished ({content['status']}{error})", key)
        if "accuracy" not in content:
            raise NoResult(f"{folder} was not tested (TEST.NO_TEST)")
        return Result(key, content["seed"], float(content["accuracy"]), folder, content)
    except KeyError as error:
        raise record.DamagedRecord(f"{folder / record.RECORD} lacks {error}: it is no record of a run") from error
