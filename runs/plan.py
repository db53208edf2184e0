"""What a run of `train.py` is, before it starts: its identity, and what its record says of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from runs import config, data, engine, record
from runs.open import finished_record
from trainers.plugins import title


def plan(cfg: CfgNode, args: argparse.Namespace, seen: dict[str, Any] | None = None) -> record.Run:
    """Return the run that `args` (of `train.py`) describe; `seen` is what several runs share of their data.

    Raises FileNotFoundError, ValueError: as `identify` does.
    """
    identity, defaults = identify(cfg, args), config.identity_defaults(cfg)
    return record.Run(cfg.OUTPUT_DIR, identity, describe(cfg, args), defaults, data.DataCheck(cfg, seen))


def describe(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the record says of a run before it starts."""
    this = {"dataset": cfg.DATASET.NAME, "dataset_config": Path(args.dataset_config_file).stem or None}
    trained = (record.read(args.model_dir) or {}) if args.model_dir else this
    return {
        "method": title(cfg),
        **this,
        "protocol": cfg.TASK,
        "subsample": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "split": cfg.TEST.SPLIT,
        "mode": "eval" if args.eval_only else "train",
        "model_dir": args.model_dir or None,
        "source": trained.get("dataset"),
        "source_config": trained.get("dataset_config"),
        "backbone": cfg.MODEL.BACKBONE.NAME,
        "settings": Path(args.config_file).stem or None,
    }


def identify(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Return everything that can change a run's result: the settings, what is done, and with which model.

    Raises:
        FileNotFoundError: `--model-dir` or `--resume` is no folder.
        ValueError: the run in `--model-dir` is not finished, and no epoch of it was asked for; or it is damaged.
    """
    for argument, folder in (("--model-dir", args.model_dir), ("--resume", args.resume)):
        if folder and not Path(folder).is_dir():
            raise FileNotFoundError(f"{argument}: there is no folder {folder}")
    identity = config.identity(cfg) | {"run.mode": "eval" if args.eval_only else "train"}
    if args.deterministic:
        identity["run.deterministic"] = True
    identity |= {f"run.{key}": value for key, value in engine.facts().items()}
    if args.model_dir:
        trained = finished_record(args.model_dir, args.load_epoch)
        # A run of ours is known by its id, wherever it is moved; a folder of another repository by its path.
        identity["run.model"] = trained["run_id"] if trained else args.model_dir
        identity["run.load_epoch"] = args.load_epoch
    return identity
