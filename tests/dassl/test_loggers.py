"""TRAIN.LOGGER: what each logger is given, once for each epoch."""

from __future__ import annotations

import csv
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dassl.engine import build_trainer
from dassl.loggers import LOGGERS
from dassl.utils import set_random_seed


def fresh(cfg):
    set_random_seed(0)
    return build_trainer(cfg)


def test_the_table_of_a_killed_run_is_that_of_a_whole_one(cfg) -> None:
    cfg.TRAIN.LOGGER, cfg.TEST.FINAL_MODEL = "csv", "best_val"
    fresh(cfg).train()
    path = Path(cfg.OUTPUT_DIR) / "metrics.csv"
    whole = path.read_text()
    rows = list(csv.DictReader(whole.splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"] and [row["train/lr"] for row in rows][:2] == [
        "1e-05",
        "0.01",
    ]
    assert all(float(row["train/loss"]) and row["train/acc"] and row["val/accuracy"] for row in rows)
    assert [bool(row["test/accuracy"]) for row in rows] == [False, False, False, True]
    assert not path.with_name("tensorboard").exists()

    cfg = cfg.clone()
    cfg.OUTPUT_DIR += "_killed"
    trainer = fresh(cfg)
    end_epoch = trainer.resumption.end_epoch

    def killed(trainer):
        if trainer.epoch == 2:  # it is in the table, and not in what the run goes on from
            raise KeyboardInterrupt
        end_epoch(trainer)

    trainer.resumption.end_epoch = killed
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    path = Path(cfg.OUTPUT_DIR) / "metrics.csv"
    assert "\n3," in path.read_text()
    build_trainer(cfg).train()
    assert path.read_text() == whole
    path.write_text("mine\n1\n")
    with pytest.raises(ValueError, match="metrics.csv is no table that TRAIN.LOGGER csv wrote: move it away"):
        LOGGERS["csv"](path.parent, 2, cfg).__enter__()


def test_other_packages_get_each_epoch_and_go_on_in_their_run(cfg, monkeypatch, tmp_path) -> None:
    """The packages are stand-ins: neither is among the requirements."""
    seen: list[Any] = []

    def written(values, step):
        seen.append((step, values))

    def init(**options):
        seen.append(options.get("id"))
        return SimpleNamespace(id="theirs", log=written, finish=lambda: seen.append("end"))

    @contextmanager
    def start_run(run_id, run_name):
        seen.append(run_id)
        yield SimpleNamespace(info=SimpleNamespace(run_id="theirs"))
        seen.append("end")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(start_run=start_run, log_metrics=written))
    for name in ("wandb", "mlflow"):
        for done, known in ((0, None), (1, "theirs"), (0, None)):
            with LOGGERS[name](tmp_path, done, cfg) as write:
                write(done + 1, {"train/loss": 0.5})
            assert seen == [known, (done + 1, {"train/loss": 0.5}), "end"]
            seen.clear()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("wandb", "TRAIN.LOGGER wandb needs the package wandb, which is missing: pip install wandb"),
        ("cvs", "TRAIN.LOGGER must be one of '', 'tensorboard', 'csv', 'wandb', 'mlflow', not 'cvs'"),
    ],
)
def test_a_logger_that_is_not_there_is_one_line(cfg, monkeypatch, tmp_path, name, line) -> None:
    (tmp_path / "wandb").mkdir()  # where it keeps its files: no package
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if "site-packages" not in p)])
    cfg.TRAIN.LOGGER = name
    with pytest.raises(ValueError, match=line):
        fresh(cfg)
