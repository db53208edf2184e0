"""Open the folder of a run: its configuration and its record, with the checks that a user of a finished run needs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

import trainers
from runs import record
from runs.config import RESOLVED, default_cfg, merge, read_yaml, trainer_named_in


def recorded_cfg(folder: Path) -> CfgNode:
    """Return the configuration that the run in `folder` wrote, over the defaults of all settings.

    Raises:
        FileNotFoundError: there is no such folder, or no `config.yaml` in it.
        ValueError: the file is damaged, or the run is of a trainer that is not one of this project's methods.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no run folder {folder}")
    path = folder / RESOLVED
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no run's folder: there is no {RESOLVED} in it")
    tree = read_yaml(path)
    name = trainer_named_in([tree])
    if name and name not in trainers.METHODS:
        raise ValueError(
            f"{folder} holds a run of {name}, a trainer of its own kind (without build_method): predict, export and "
            "inspect know this project's methods only; test it with train.py --eval-only"
        )
    cfg = default_cfg()
    merge(cfg, tree, path)
    return cfg


def finished_record(folder: str | Path, epoch: int | None = None) -> dict[str, Any] | None:
    """Return the record of the run in `folder`, finished unless an `epoch` of it is asked for; None without a record.

    Raises ValueError: the record is damaged, `config.yaml` is not what the run wrote, or the run is not finished.
    """
    content = record.read(folder)
    if content is None:
        return None
    check_config(folder, content)
    if content["status"] != "success" and epoch is None:
        raise ValueError(
            f"the run in {folder} is not finished (its record says {content['status']}): run it to its end first, "
            "or say which epoch to load"
        )
    return content


def check_config(folder: str | Path, content: dict[str, Any]) -> None:
    """Raise ValueError unless `config.yaml` in `folder` is as the run with the record `content` wrote it."""
    path = Path(folder) / RESOLVED
    written = content.get("config_file")  # older records do not say
    if written and (not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != written):
        raise ValueError(
            f"{path} is not what its run wrote: it is damaged, edited or gone; put the old file back, or train again"
        )
