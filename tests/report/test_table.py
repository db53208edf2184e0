"""The Base / New / HM table."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import table
from reporting.stats import harmonic_mean
from runs import record


def put(output: Path, half: str, seed: int, accuracy: float | None, trainer: str = "MMRL") -> Path:
    folder = output / f"base2new/{half}/digits/shots_16/{trainer}/embedded/seed{seed}"
    run = record.Run(folder, {"SEED": seed}, {})
    run.start("", {})
    if accuracy is not None:
        run.succeed({"accuracy": accuracy})
    return folder


def show(output: Path, *trainers: str) -> int:
    return table.main(["digits", *trainers, "--output", str(output)])


def test_means_over_whole_seeds_and_the_hm_of_the_means(tmp_path, capsys):
    for seed, base, new in [(1, 80.0, 40.0), (2, 90.0, 60.0), (3, 10.0, None)]:
        put(tmp_path, "train_base", seed, base)
        put(tmp_path, "test_new", seed, new)
    put(tmp_path, "train_base", 1, 50.0, "ZeroshotCLIP")
    put(tmp_path, "test_new", 1, 50.0, "ZeroshotCLIP")
    assert show(tmp_path, "ZeroshotCLIP", "MMRL") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "Base to new on digits, 16 shots, accuracy in percent",
        "| Method       | Config   | Seeds   |   Base |   New |    HM |",
        "|:-------------|:---------|:--------|-------:|------:|------:|",
        "| ZeroshotCLIP | embedded | 1       |  50.00 | 50.00 | 50.00 |",
        "| MMRL         | embedded | 1, 2    |  85.00 | 50.00 | 62.96 |",
    ]
    assert "seed3 is not finished (running)" in printed.err
    assert "MMRL embedded seed3 is left out: no new result" in printed.err


def test_nothing_finished_is_an_error(tmp_path, capsys):
    folder = put(tmp_path, "train_base", 1, 80.0)
    (folder / record.RECORD).write_text("[")
    assert show(tmp_path, "MMRL") == 1
    printed = capsys.readouterr()
    assert "is damaged" in printed.err and "error: no finished pair of runs of MMRL on digits" in printed.err


def test_harmonic_mean():
    assert harmonic_mean(85.68, 77.16) == pytest.approx(81.20, abs=0.005)  # the paper's Table 1
    assert harmonic_mean(0.0, 0.0) == 0.0
