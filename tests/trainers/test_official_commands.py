"""Command lines of the official repositories' scripts, as they stand there: each must be a run of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

import train
import trainers
from reference.shared import toy
from runs.config import build_cfg

ROOT = Path(train.__file__).parent
COOP = "TRAINER.COOP.N_CTX {} TRAINER.COOP.CSC False {}TRAINER.COOP.CLASS_TOKEN_POSITION end DATASET.NUM_SHOTS {}"
BASE = "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base"
PLOT = "TRAINER.PLOTPP.N_CTX 4 TRAINER.PLOTPP.CSC False TRAINER.PLOTPP.CLASS_TOKEN_POSITION end DATASET.NUM_SHOTS 16"
# trainer, configuration, options, and one setting that must come out.
COMMANDS = [
    ("CoOp", "rn50_ep50", COOP.format(16, "", 1), ("COOP.N_CTX", 16)),
    ("CoOp", "rn50", COOP.format(16, "", 16).replace("CSC False", "CSC True"), ("COOP.CSC", True)),
    ("CoOp", "vit_b16_ctxv1", BASE, ("COOP.CTX_INIT", "a photo of a")),
    ("CoCoOp", "vit_b16_c4_ep10_batch1_ctxv1", BASE, ("COCOOP.CTX_INIT", "a photo of a")),
    ("KgCoOp", "vit_b16_ep100_ctxv1", COOP.format(4, "TRAINER.COOP.W 8.0 ", 16), ("COOP.W", 8.0)),
    ("ProGrad", "rn50_ep100", f"{COOP.format(16, '', 4)} LOSS.NAME prograd LOSS.LAMBDA 0.8", ("COOP.CTX_INIT", True)),
    ("TCP", "vit_b16_ep100_ctxv1", COOP.format(4, "TRAINER.COOP.W 1.0 ", 16), ("COOP.CTX_INIT", False)),
    ("MaPLe", "vit_b16_c2_ep5_batch4_2ctx", BASE, ("MAPLE.PROMPT_DEPTH", 9)),
    ("MaPLe", "vit_b16_c2_ep5_batch4_2ctx_cross_datasets", "DATASET.NUM_SHOTS 16", ("MAPLE.PROMPT_DEPTH", 3)),
    ("PromptSRC", "vit_b16_c2_ep20_batch4_4+4ctx", BASE, ("PROMPTSRC.GPA_MEAN", 15.0)),
    ("PromptSRC", "vit_b16_c2_ep50_batch4_4+4ctx_few_shot", "DATASET.NUM_SHOTS 4", ("PROMPTSRC.GPA_STD", 30.0)),
    ("MMRL", "vit_b16", f"{BASE} TASK B2N TRAINER.MMRL.REP_DIM 512", ("MMRL.REP_DIM", 512)),
    ("MMRLpp", "vit_b16", f"{BASE} TASK B2N", ("MMRLpp.BETA", 0.6)),
    ("MultiModalAdapter", "vit_b16_ep5", BASE, ("MMADAPTER.ADAPTER_SCALE", 0.001)),
    ("ProVP", "vit_b16_b2n_ep100", f"TRAINER.PROVP.N_CTX 16 {BASE}", ("PROVP.N_CTX", 16)),
    ("Meta_B2N", "vit_b16", BASE, ("META.META_STEP", 0.2)),
    ("RPO", "main_K24", BASE, ("RPO.K", 24)),
    (
        *("PLOTPP", "vit"),
        f"{PLOT} TRAINER.PLOTPP.N 4 TRAINER.PLOTPP.MODEL_UPD vision TRAINER.PLOTPP.TRADE_OFF True",
        ("PLOTPP.MODEL_UPD", "vision"),
    ),
    ("CLIP_Adapter", "vit_b16_c4_ep200_batch32", BASE, ("CLIPADAPTER.RATIO", 0.2)),
    ("ProDA", "vit_b16_c16_ep100_batch4", BASE, ("PRODA.N_PROMPT", 32)),
    ("ZeroshotCLIP", "../CoOp/vit_b16", "DATASET.SUBSAMPLE_CLASSES new", ("NAME", "ZeroshotCLIP")),
]


def words(trainer: str, config: str, options: str, dataset: str = "caltech101") -> list[str]:
    files = ["--dataset-config-file", f"configs/datasets/{dataset}.yaml"]
    files += ["--config-file", f"configs/trainers/{trainer}/{config}.yaml"]
    return ["--root", "data", "--seed", "1", "--trainer", trainer, *files, *options.split()]


@pytest.mark.parametrize(("trainer", "config", "options", "setting"), COMMANDS)
def test_official_command_line_is_understood(trainer, config, options, setting, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = build_cfg(train.parse_args(words(trainer, config, options)))
    found = trainers.load(cfg.TRAINER.NAME)
    found.check_cfg(object.__new__(found), cfg)
    value = cfg.TRAINER
    for key in setting[0].split("."):
        value = value[key]
    assert value == setting[1] and cfg.TRAINER.NAME == trainers.ALIASES.get(trainer, trainer)
    assert cfg.DATASET.NUM_SHOTS in (-1, 1, 4, 16) and cfg.MODEL.BACKBONE.NAME in ("RN50", "ViT-B/16")


@pytest.mark.parametrize(
    ("number", "vision", "side"),
    [(0, {"vision": (8, (1, 1, 1, 1)), "patch": None}, 64), (7, {"vision": (64, 12)}, 32)],
)
def test_official_command_line_runs(number, vision, side, data_root, tmp_path):
    """CoOp on a ResNet and MaPLe on a ViT to their end, but for the weights, what they see, and one epoch."""
    save_file(
        toy.clip_weights(0, embed=32, res=side, **vision, text=(64, 12), vocabulary=49408),
        tmp_path / "clip.safetensors",
    )
    trainer, config, options, _ = COMMANDS[number]
    command = words(trainer, config, options, "digits") + ["OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0"]
    command += ["MODEL.BACKBONE.NAME", str(tmp_path / "clip.safetensors"), "INPUT.SIZE", f"({side}, {side})"]
    command += ["OUTPUT_DIR", str(tmp_path / "run"), "DATASET.SUBSAMPLE_CLASSES", "base"]
    command[command.index("--root") + 1] = str(data_root)
    done = subprocess.run(
        [sys.executable, "train.py", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    folder = trainers.load(trainer).registered_name
    assert (tmp_path / "run" / folder / "model-1.safetensors").is_file() and "* accuracy: " in done.stdout
