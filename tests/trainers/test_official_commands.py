"""Command lines of the official repositories' scripts, as they stand there: each must be a run of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

import reference
import train
import trainers
from reference.shared import toy
from runs.config import build_cfg, get
from tests import calls

ROOT = Path(train.__file__).parent
COMMANDS = [(method, command) for method in trainers.METHODS for command in reference.of(method).commands]


def words(trainer: str, config: str, options: str, dataset: str = "caltech101") -> list[str]:
    files = ["--dataset-config-file", f"configs/datasets/{dataset}.yaml"]
    files += ["--config-file", f"configs/trainers/{trainer}/{config}.yaml"]
    return ["--root", "data", "--seed", "1", "--trainer", trainer, *files, *options.split()]


@pytest.mark.parametrize(("method", "command"), COMMANDS)
def test_official_command_line_is_understood(method, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = build_cfg(train.parse_args(words(command.trainer or method, command.config, command.options)))
    found = trainers.load(cfg.TRAINER.NAME)
    found.check_cfg(object.__new__(found), cfg)
    assert get(cfg, f"TRAINER.{command.setting[0]}") == command.setting[1] and cfg.TRAINER.NAME == method
    assert cfg.DATASET.NUM_SHOTS in (-1, 1, 4, 16) and cfg.MODEL.BACKBONE.NAME in ("RN50", "ViT-B/16")


@pytest.mark.parametrize(
    ("method", "vision", "side"),
    [("CoOp", {"vision": (8, (1, 1, 1, 1)), "patch": None}, 64), ("MaPLe", {"vision": (64, 12)}, 32)],
)
def test_official_command_line_runs(method, vision, side, data_root, tmp_path, monkeypatch, capsys):
    """CoOp on a ResNet and MaPLe on a ViT to their end, but for the weights, what they see, 4 shots and one epoch."""
    save_file(
        toy.clip_weights(0, embed=32, res=side, **vision, text=(64, 12), vocabulary=49408),
        tmp_path / "clip.safetensors",
    )
    official = reference.of(method).commands[0]
    command = words(method, official.config, official.options, "digits")
    command += ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    command += ["MODEL.BACKBONE.NAME", str(tmp_path / "clip.safetensors"), "INPUT.SIZE", f"({side}, {side})"]
    command += ["OUTPUT_DIR", str(tmp_path / "run"), "DATASET.SUBSAMPLE_CLASSES", "base"]
    for key, value in {"--root": str(data_root), "DATASET.NUM_SHOTS": "4"}.items():
        command[command.index(key) + 1] = value
    monkeypatch.chdir(ROOT)
    status = calls.call(command)
    said = capsys.readouterr()
    assert status == 0, said.err
    folder = trainers.load(method).registered_name
    assert (tmp_path / "run" / folder / "model-1.safetensors").is_file() and "* accuracy: " in said.out
