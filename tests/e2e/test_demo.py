"""What the embedded demonstration promises, over three seeds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script, seed, method, folder, *options):
    env = {**os.environ, "DATA": str(folder / "data"), "OUTPUT": str(folder / "output"), "PYTHON": sys.executable}
    (folder / "data").mkdir(exist_ok=True)
    command = ["bash", f"scripts/b2n/{script}.sh", "digits", str(seed), method, *options]
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)


def accuracy(folder, half, method, seed):
    path = folder / f"output/base2new/{half}/digits/shots_16/{method}/embedded/seed{seed}/record.json"
    return json.loads(path.read_text())["accuracy"]


@pytest.mark.slow
def test_adaptation_gains_on_base_and_keeps_the_new_classes(tmp_path):
    results = {}
    for method in ("ZeroshotCLIP", "MMRL"):
        for seed in (1, 2, 3):
            run("base2new_train", seed, method, tmp_path)
            run("base2new_test", seed, method, tmp_path)
        results[method] = [
            statistics.mean(accuracy(tmp_path, half, method, seed) for seed in (1, 2, 3))
            for half in ("train_base", "test_new")
        ]
    harmonic = {method: 2 * base * new / (base + new) for method, (base, new) in results.items()}
    assert harmonic["MMRL"] >= harmonic["ZeroshotCLIP"] + 5
    assert results["MMRL"][1] >= results["ZeroshotCLIP"][1] - 3


@pytest.mark.slow
def test_bf16_costs_at_most_a_tenth_of_a_point(tmp_path):
    run("base2new_train", 1, "MMRL", tmp_path)
    trained = tmp_path / "output/base2new/train_base/digits/shots_16/MMRL/embedded/seed1"
    run("base2new_test", 1, "MMRL", tmp_path)
    fp32 = accuracy(tmp_path, "test_new", "MMRL", 1)
    other = tmp_path / "bf16"
    words = ["--root", str(tmp_path / "data"), "--seed", "1", "--trainer", "MMRL", "--eval-only", "--model-dir"]
    words += [str(trained), "--output-dir", str(other), "--dataset-config-file", "configs/datasets/digits.yaml"]
    words += ["--config-file", "configs/trainers/MMRL/embedded.yaml", "DATASET.NUM_SHOTS", "16"]
    words += ["DATASET.SUBSAMPLE_CLASSES", "new", "TRAINER.MMRL.PREC", "bf16"]
    subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=True, capture_output=True)
    bf16 = json.loads((other / "record.json").read_text())["accuracy"]
    assert abs(fp32 - bf16) <= 0.1
