"""The parser, on logs as CoOp, MaPLe, MMRL and this project write them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import parse_test_res

# Public Dassl of CoOp's time: one decimal, and a validation result before the end when the best model is kept.
COOP = """epoch [50/50] batch [50/50] time 0.1 (0.1) data 0.0 (0.0) loss 0.3 (0.4) acc 93.7 (90.1) lr 2.0e-06
Evaluate on the *val* set
=> result
* total: 400
* accuracy: 11.1%
* macro_f1: 10.0%
Checkpoint saved to output/prompt_learner/model.pth.tar-50
{end}
Deploy the last-epoch model
Evaluate on the *test* set
=> result
* total: 2,465
* correct: 2,263
* accuracy: {accuracy}%
* error: {error}%
* macro_f1: 88.1%
Elapsed: 0:10:02
"""
MAPLE_TEST = """Loading weights to MultiModalPromptLearner from "output/seed1/model.pth.tar-2" (epoch = 2)
Evaluate on the *test* set
=> result
* total: 269
* correct: 260
* accuracy: {accuracy}%
* error: {error}%
* macro_f1: 96.6%
"""
UNFINISHED = "epoch [1/50] batch [5/50] loss 2.3 (2.4)\nEvaluate on the *val* set\n=> result\n* accuracy: 11.1%\n"


def write(folder: Path, text: str, name: str = "log.txt") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def parse(monkeypatch, capsys, *words: object) -> tuple[int, list[str], str]:
    monkeypatch.setattr(sys, "argv", ["parse_test_res.py", *map(str, words)])
    status = parse_test_res.main()
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


@pytest.mark.parametrize("end", ["Finish training", "Finished training"])
def test_training_logs_in_coops_lines(tmp_path, monkeypatch, capsys, end):
    for seed, accuracy in [(1, 91.8), (2, 92.0), (3, 92.8)]:
        write(tmp_path / f"seed{seed}", COOP.format(end=end, accuracy=accuracy, error=round(100 - accuracy, 1)))
    status, lines, _ = parse(monkeypatch, capsys, tmp_path)
    assert status == 0
    assert lines == [
        f"Parsing files in {tmp_path}",
        f"file: {tmp_path}/seed1/log.txt. accuracy: 91.80%. ",
        f"file: {tmp_path}/seed2/log.txt. accuracy: 92.00%. ",
        f"file: {tmp_path}/seed3/log.txt. accuracy: 92.80%. ",
        "===",
        f"Summary of directory: {tmp_path}",
        "* accuracy: 92.20% +- 0.43%",
        "Seeds that count: seed1, seed2, seed3 (3 of 3 found)",
        "===",
    ]
    _, lines, _ = parse(monkeypatch, capsys, tmp_path, "--ci95", "--keyword", "error")
    assert "* error: 7.80% +- 0.49%" in lines  # 1.96 * 0.432 / sqrt(3)


def test_seeds_that_do_not_count_are_named(tmp_path, monkeypatch, capsys):
    write(tmp_path / "seed1", COOP.format(end="Finish training", accuracy=80.0, error=20.0))
    write(tmp_path / "seed2", UNFINISHED)
    write(tmp_path / "seed4", UNFINISHED + "Finish training\n")
    (tmp_path / "seed10").mkdir()
    status, lines, _ = parse(monkeypatch, capsys, tmp_path)
    assert status == 0
    assert "* accuracy: 80.00% +- 0.00%" in lines
    assert lines[lines.index("* accuracy: 80.00% +- 0.00%") + 1 : -1] == [
        "Seeds that count: seed1 (1 of 4 found)",
        "Left out: seed2 (unfinished)",
        "Left out: seed4 (no result)",
        "Left out: seed10 (no log.txt)",
        "Missing: seed3, seed5, seed6, seed7, seed8, seed9",
    ]


def test_test_logs_have_no_end_of_training(tmp_path, monkeypatch, capsys):
    write(tmp_path / "seed1", MAPLE_TEST.format(accuracy=96.65, error=3.35))
    status, lines, err = parse(monkeypatch, capsys, tmp_path)
    assert status == 1 and "Left out: seed1 (unfinished)" in lines and err.startswith("error: no result (accuracy)")
    status, lines, _ = parse(monkeypatch, capsys, tmp_path, "--test-log")
    assert status == 0 and "* accuracy: 96.65% +- 0.00%" in lines and "Missing: seed2, seed3" in lines


def test_a_folder_used_again_counts_its_latest_result(tmp_path, monkeypatch, capsys):
    """Public Dassl starts a dated log beside the first one; this project goes on in the same one."""
    write(tmp_path / "seed1", UNFINISHED)
    dated = "log.txt-2024-05-01-10-00-00"
    write(tmp_path / "seed1", COOP.format(end="Finish training", accuracy=70.0, error=30.0), dated)
    write(tmp_path / "seed2", UNFINISHED + COOP.format(end="Finish training", accuracy=72.0, error=28.0))
    write(tmp_path / "seed3", COOP.format(end="Finish training", accuracy=74.0, error=26.0))
    write(tmp_path / "seed3", UNFINISHED, dated)
    _, lines, _ = parse(monkeypatch, capsys, tmp_path)
    assert f"file: {tmp_path}/seed1/{dated}. accuracy: 70.00%. " in lines
    assert "* accuracy: 72.00% +- 1.63%" in lines


def test_several_experiments(tmp_path, monkeypatch, capsys):
    for name, accuracy in [("eurosat", 60.0), ("dtd", 70.0)]:
        for seed in (1, 2, 3):
            write(tmp_path / name / f"seed{seed}", COOP.format(end="Finish training", accuracy=accuracy, error=1.0))
    write(tmp_path / "ucf101" / "seed1", UNFINISHED)
    status, lines, _ = parse(monkeypatch, capsys, tmp_path, "--multi-exp")
    assert status == 0
    assert lines[-3:] == [
        "Average performance",
        "* accuracy: 65.00%",
        "Left out of the average, without any result: ucf101",
    ]


def test_a_folder_that_is_itself_a_run(tmp_path, monkeypatch, capsys):
    """Zero-shot runs of CoOp have no seeds."""
    write(tmp_path, MAPLE_TEST.format(accuracy=84.0, error=16.0))
    status, lines, _ = parse(monkeypatch, capsys, tmp_path, "--test-log")
    assert status == 0 and "* accuracy: 84.00% +- 0.00%" in lines


def test_nothing_found(tmp_path, monkeypatch, capsys):
    assert parse(monkeypatch, capsys, tmp_path)[0] == 1
    status, _, err = parse(monkeypatch, capsys, tmp_path / "none")
    assert status == 1 and err == f"error: there is no folder {tmp_path}/none\n"
    assert parse(monkeypatch, capsys, tmp_path, "--multi-exp")[0] == 1
