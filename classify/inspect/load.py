"""From a run's folder to its trainer, built and loaded as train.py does it for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import trainers
from dassl.engine import build_trainer
from dassl.engine.trainer import choose_device
from dassl.utils import set_random_seed
from runs import data
from runs.engine import choose_threads
from runs.open import finished_record, recorded_cfg


def open_run(folder: Path, root: str = "", epoch: int | None = None) -> Any:
    """Return the trainer of a finished run, with what was learned; of a test run with the model that it tested.

    Args:
        folder: of the run: ``config.yaml``, ``record.json``, and checkpoints unless it is a test run.
        root: folder of all data sets; by default the recorded one.
        epoch: which checkpoint; by default what the run itself tested.

    Raises FileNotFoundError or ValueError for a folder without a run, a run that is not finished or learned nothing
    at that epoch, a damaged file, and data that cannot be read.
    """
    cfg = recorded_cfg(folder)
    content = finished_record(folder, epoch) or {}
    tested = content.get("model_dir")
    if tested and not Path(tested).is_dir():
        raise FileNotFoundError(
            f"the run in {folder} tested the model of {tested}, which is not there: start where that path holds"
        )
    if tested and epoch is None:
        epoch = (content.get("config") or {}).get("run.load_epoch")
    if root:
        cfg.DATASET.ROOT = root
    cfg.OUTPUT_DIR = ""  # nothing is written there
    if not trainers.load(cfg.TRAINER.NAME).registered_name and epoch is not None:
        raise ValueError(f"the run in {folder} has no epoch {epoch}: {cfg.TRAINER.NAME} learns nothing")
    datasets.load_all()
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    trainer = _build(cfg)
    if "data" in content:
        data.compare(folder, content["data"], trainer.lists, f"{data.BACK}, or name their folder with --root")
    trainer.load_model(str(tested or folder), epoch)
    return trainer


def _build(cfg: Any) -> Any:
    """Build the trainer. Raises ValueError for weights that cannot be had, which the user can mend."""
    choose_threads(cfg.MODEL.BACKBONE.NAME, choose_device(cfg.USE_CUDA))
    try:
        return build_trainer(cfg)
    except RuntimeError as error:
        raise ValueError(f"{cfg.MODEL.BACKBONE.NAME}: {error}") from error


def images_of(trainer: Any, split: str) -> list[Any]:
    """Return a split's images (test, val, train: those drawn for training). Raises ValueError without any."""
    dataset = trainer.dm.dataset
    if split == "test" and trainer.cfg.DATASET.ALL_TRAIN:
        raise ValueError("this model was trained on all images, and no others are known: choose --split train")
    items = {"test": dataset.test, "val": dataset.val, "train": dataset.train_x}[split]
    if not items:
        raise ValueError(f"{trainer.cfg.DATASET.NAME} has no {split} images in this run: choose another --split")
    return list(items)
