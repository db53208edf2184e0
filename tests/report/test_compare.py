"""The side-by-side table."""

from __future__ import annotations

import math
import statistics

import pytest

from commands import compare
from reporting.stats import paired_difference
from runs import record


def put(output, half, seed, accuracy, trainer="MMRL"):
    run = record.Run(output / f"base2new/{half}/digits/shots_16/{trainer}/embedded/seed{seed}", {"SEED": seed}, {})
    run.start("", {})
    run.succeed({"accuracy": accuracy})


def fill(output, results):
    for trainer, by_seed in results.items():
        for seed, (base, new) in by_seed.items():
            put(output, "train_base", seed, base, trainer)
            if new is not None:
                put(output, "test_new", seed, new, trainer)


def show(output, *words):
    return compare.main(["digits", *words, "--output", str(output)])


def test_means_spread_and_paired_differences(tmp_path, capsys):
    fill(
        tmp_path,
        {
            "MMRL": {1: (90.0, 60.0), 2: (92.0, 60.0), 3: (94.0, 60.0)},
            "CoOp": {1: (80.0, 60.0), 2: (82.0, 60.0), 3: (84.0, 60.0)},
        },
    )
    assert show(tmp_path, "MMRL", "CoOp") == 0
    out = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert lines[1] == ["Method", "Config", "Seeds", "Base", "New", "HM", "HM - MMRL"]
    assert lines[3] == ["MMRL", "embedded", "3", "92.00 ± 2.00", "60.00 ± 0.00", "72.63", ""]
    gaps = [2 * a * 60 / (a + 60) - 2 * b * 60 / (b + 60) for a, b in [(80, 90), (82, 92), (84, 94)]]
    half = 4.302652729911275 * statistics.stdev(gaps) / math.sqrt(3)  # t of 2 degrees of freedom, 97.5 %
    difference = f"{statistics.mean(gaps):+.2f} ± {half:.2f}"
    assert lines[4] == ["CoOp", "embedded", "3", "82.00 ± 2.00", "60.00 ± 0.00", "69.30", difference]


def test_missing_seeds_are_marked_and_never_averaged_in(tmp_path, capsys):
    fill(tmp_path, {"MMRL": {1: (90.0, 60.0), 2: (50.0, None)}, "CoOp": {1: (80.0, 60.0), 2: (82.0, 60.0)}})
    assert show(tmp_path, "MMRL", "CoOp", "KgCoOp", "--seeds", "1", "2") == 1
    printed = capsys.readouterr()
    assert "1 of 2 (!)" in printed.out and "(n = 1) |" in printed.out
    assert "note: MMRL embedded seed2: no new result" in printed.err
    assert "note: KgCoOp: no finished pair of runs on digits" in printed.err


def test_a_seed_that_was_not_asked_for_does_not_count(tmp_path, capsys):
    fill(tmp_path, {"MMRL": {1: (90.0, 60.0), 7: (10.0, 10.0)}})
    assert show(tmp_path, "MMRL", "--seeds", "1") == 0
    assert "90.00 | 60.00 | 72.00 |" in capsys.readouterr().out


def test_one_common_seed_has_no_interval():
    mean, half, count = paired_difference({1: 3.0, 2: 5.0}, {2: 4.0})
    assert (mean, count) == (1.0, 1) and math.isnan(half)
    assert paired_difference({1: 1.0}, {2: 1.0})[2] == 0
    assert paired_difference({1: 1.0, 2: 3.0}, {1: 0.0, 2: 0.0})[0] == pytest.approx(2.0)
