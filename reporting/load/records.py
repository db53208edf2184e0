"""Results from the records of this project's runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import trainers
from reporting.changes import variant_by_settings
from reporting.load.result import Key, Result, Row
from reporting.names import dataset_name, variant_of
from runs import record
from runs.protocols import dataset_in_path, default_config, protocol_of


class NoResult(ValueError):
    """A record without a result for a table; the text says why."""


class Unfinished(NoResult):
    """A record of a run that has not come to its end; `key` is the cell that its result would be in."""

    def __init__(self, text: str, key: Key) -> None:
        super().__init__(text)
        self.key = key


def key_of(folder: Path, content: Mapping[str, Any]) -> Key:
    """Return the cell that a record belongs to. Raises NoResult for a run of no protocol, or of data without a name."""
    subsample = content["subsample"]
    protocol = protocol_of(content["protocol"], subsample)
    if not protocol:
        raise NoResult(f"{folder} belongs to no table: protocol {content['protocol']} with {subsample} classes")
    config = content["config"]
    dataset = _dataset(folder, content)
    method, shots = content["method"], content["shots"]
    source = _source(folder, content) or dataset if protocol == "xd" else dataset
    default = default_config(protocol, source, method, shots)
    named = _name_in_layout(folder, content)
    variant = variant_of(named or content.get("settings") or "", default)
    key = Key(protocol, config["MODEL.BACKBONE.NAME"], Row(method, variant), source, dataset, subsample, shots)
    return key if named else key._replace(row=Row(method, variant_by_settings(key, config)))


def _dataset(folder: Path, content: Mapping[str, Any]) -> str:
    """Return the data set tested. Raises NoResult for own data that neither record nor folder names."""
    name = _name(content["dataset"], content.get("dataset_config"), folder)
    if not name:
        raise NoResult(
            f"{folder} is of own data ({content['dataset']}), and its record does not name their configuration: "
            "put the folder where the scripts would (docs/report.md), or run it again"
        )
    return name


def _source(folder: Path, content: Mapping[str, Any]) -> str:
    """Return the data set that a cross-dataset run's model was trained on; "" for an older run of its own model."""
    model, loader = content.get("model_dir"), content.get("source")
    if not model and not loader:
        return ""
    place = Path(model or folder)
    # Without a loader it is an older record, or a model of another repository.
    name = _name(loader, content.get("source_config"), place) if loader else dataset_in_path(place)
    if not name:
        raise NoResult(
            f"{folder} does not say on which data its model was trained: {place} is not where the scripts would put it "
            "(docs/report.md)"
        )
    return name


def _name(loader: str, config: str | None, folder: Path) -> str:
    """Return a data set's name; for own data whose record does not say it, the one in the scripts' folders."""
    return dataset_name(loader, config or (dataset_in_path(folder) if loader in datasets.OWN else ""))


def _name_in_layout(folder: Path, content: Mapping[str, Any]) -> str:
    """Return CFG of a folder `shots_16/METHOD/CFG/seed1`, or "" for a folder of another kind."""
    settings, method, shots = (parent.name for parent in [*folder.parents, Path(), Path(), Path()][:3])
    here = (folder.name, trainers.full_title(method), shots)
    return settings if here == (f"seed{content['seed']}", content["method"], f"shots_{content['shots']}") else ""


def read_result(folder: Path) -> Result:
    """Return the result in a run's folder.

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
