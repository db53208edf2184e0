"""Where the numbers of each epoch go beside `log.txt` (TRAIN.LOGGER): a table, Weights & Biases or MLflow.

Each logger is a context manager `logger(folder, done, cfg)` that yields a function `write(epoch, values)`: `folder` is
the run's, `done` says how many epochs a resumed run has behind it, and epochs count from 1. TensorBoard is Dassl's own
and is written by `TrainerBase.write_scalar`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from common.files import write_text
from common.text import as_csv

Write = Callable[[int, Mapping[str, float]], None]


def check(name: str) -> None:
    """Raise ValueError for a TRAIN.LOGGER that is unknown, or whose package is not installed."""
    names = ("", "tensorboard", *LOGGERS)
    if name not in names:
        raise ValueError(f"TRAIN.LOGGER must be one of {', '.join(map(repr, names))}, not {name!r}")
    if name not in ("wandb", "mlflow"):
        return
    spec = find_spec(name)
    if spec is None or spec.origin is None:  # None too: a folder `wandb` of earlier logs, no package
        raise ValueError(f"TRAIN.LOGGER {name} needs the package {name}, which is missing: pip install {name}")


@contextmanager
def to_csv(folder: Path, done: int, cfg: Any) -> Iterator[Write]:
    """Keep `metrics.csv`, a row for each epoch, which an epoch that a killed run does again replaces."""
    path = folder / "metrics.csv"
    rows = _rows(path) if done and path.is_file() else {}

    def write(epoch: int, values: Mapping[str, float]) -> None:
        rows.setdefault(epoch, {"epoch": epoch}).update({name: f"{value:.6g}" for name, value in values.items()})
        columns = dict.fromkeys(name for row in rows.values() for name in row)
        write_text(path, as_csv([columns, *([row.get(name) for name in columns] for row in rows.values())]))

    yield write


def _rows(path: Path) -> dict[int, dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return {int(row["epoch"]): {k: v for k, v in row.items() if v} for row in csv.DictReader(file)}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no table that TRAIN.LOGGER csv wrote: move it away") from error


@contextmanager
def to_wandb(folder: Path, done: int, cfg: Any) -> Iterator[Write]:
    """Log to the Weights & Biases project `mmrl` (or $WANDB_PROJECT); a resumed run goes on in its own run there."""
    import wandb

    known = _known(folder, "wandb", done)
    options = {"id": known, "resume": "allow"} if known else {}
    project = os.environ.get("WANDB_PROJECT", "mmrl")
    settings = yaml.safe_load(cfg.dump())
    run = wandb.init(project=project, name=str(folder), dir=str(folder), config=settings, **options)
    write_text(folder / "wandb_run", run.id)
    try:
        yield lambda epoch, values: run.log(dict(values), step=epoch)
    finally:
        run.finish()


@contextmanager
def to_mlflow(folder: Path, done: int, cfg: Any) -> Iterator[Write]:
    """Log to MLflow, where MLFLOW_TRACKING_URI says; a resumed run goes on in its own run there."""
    import mlflow

    with mlflow.start_run(run_id=_known(folder, "mlflow", done), run_name=str(folder)) as run:
        write_text(folder / "mlflow_run", run.info.run_id)
        yield lambda epoch, values: mlflow.log_metrics(dict(values), step=epoch)


def _known(folder: Path, name: str, done: int) -> str | None:
    """Return the id under which a run that is resumed was logged; None for a run that begins."""
    path = folder / f"{name}_run"
    return path.read_text(encoding="utf-8") if done and path.is_file() else None


LOGGERS: dict[str, Callable[[Path, int, Any], Any]] = {"csv": to_csv, "wandb": to_wandb, "mlflow": to_mlflow}
