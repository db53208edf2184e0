"""Results from the records of this project's runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import trainers
from reporting.changes import variant_by_settings
from reporting.names import dataset_name, default_settings, variant_of
from reporting.result import Key, Result, Row
from runs import record
from runs.protocols import dataset_in_path

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
    """The cell that a record belongs to. Raises NoResult for a run of no protocol, or of data without a name."""
    subsample = content["subsample"]
    protocol = _PROTOCOLS.get((content["protocol"], subsample))
    if protocol is None:
        raise NoResult(f"{folder} belongs to no table: protocol {content['protocol']} with {subsample} classes")
    config = content["config"]
    dataset = _dataset(folder, content)
    method, shots = content["method"], content["shots"]
    source = _source(folder, content) or dataset if protocol == "xd" else dataset
    default = default_settings(method, protocol, source, shots)
    named = _name_in_layout(folder, content)
    variant = variant_of(named or content.get("settings") or "", default)
    key = Key(protocol, config["MODEL.BACKBONE.NAME"], Row(method, variant), source, dataset, subsample, shots)
    return key if named else key._replace(row=Row(method, variant_by_settings(key, config)))


def _dataset(folder: Path, content: Mapping[str, Any]) -> str:
    """The data set tested; older records of own data have its name where the scripts put them, or are refused."""
    name = _name(content["dataset"], content.get("dataset_config"), folder)
    if not name:
        raise NoResult(
            f"{folder} is of own data ({content['dataset']}), and its record does not name their configuration: "
            "put the folder where the scripts would (docs/report.md), or run it again"
        )
    return name


def _source(folder: Path, content: Mapping[str, Any]) -> str:
    """The data set that a cross-dataset run's model was trained on; "" for an older run that tests its own model."""
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
    """A data set's name; of own data whose record does not say it, what the scripts' folders do."""
    return dataset_name(loader, config or (dataset_in_path(folder) if loader in datasets.OWN else ""))


def _name_in_layout(folder: Path, content: Mapping[str, Any]) -> str:
    """What `shots_16/METHOD/CFG/seed1` calls the configuration, or "" for a folder of another kind."""
    settings, method, shots = (parent.name for parent in [*folder.parents, Path(), Path(), Path()][:3])
    here = (folder.name, trainers.ALIASES.get(method, method), shots)
    return settings if here == (f"seed{content['seed']}", content["method"], f"shots_{content['shots']}") else ""


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
