"""The embedded suite: what `make demo-full` runs."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

import datasets
import train
from runs.grid.expand import expand
from runs.grid.suite import read_suite

ROOT = Path(train.__file__).parent
SUITE = ROOT / "scripts/demo_full.yaml"
METHODS = ["MMRL", "ZeroshotCLIP", "CoOp", "MaPLe", "PromptSRC"]


@pytest.fixture(scope="module")
def runs():
    return expand(read_suite(SUITE, {}))


def test_every_run_is_of_data_that_writes_itself_with_the_embedded_clip(runs):
    written = {path.stem for path in (ROOT / "configs/datasets").glob("*.yaml") if name_of(path) in datasets.WRITTEN}
    assert {run.dataset for run in runs} == written and len(written) == 8
    assert {run.cfg for run in runs} == {"embedded"} and {run.seed for run in runs} == {1, 2, 3}
    assert Counter(run.method for run in runs) == dict.fromkeys(METHODS, 105)


def name_of(path):
    return yaml.safe_load(path.read_text())["DATASET"]["NAME"]


def test_all_protocols_are_there(runs):
    steps = Counter(run.step for run in runs)
    assert steps == {
        "base2new_train": 60,
        "base2new_test": 60,
        "joint_test": 60,
        "xd_train": 15,
        "xd_test": 105,
        "fewshot": 225,
    }
    assert {run.shots for run in runs if run.step == "fewshot"} == {1, 2, 4, 8, 16}
    assert {run.dataset for run in runs if run.step == "xd_train"} == {"drawn_letters"}
    variants = {run.dataset for run in runs if run.step == "xd_test" and run.dataset.startswith("drawn_letters")}
    assert variants == {f"drawn_letters_{domain}" for domain in ("v2", "sketch", "a", "r")}


def test_every_method_runs_on_it():
    """As `make demo-full METHODS=all` has it."""
    runs = expand(read_suite(SUITE, {"methods": ["all"], "seeds": ["1"]}))
    assert {run.cfg for run in runs} == {"embedded"} and len({run.method for run in runs}) > 15


def make(folder, *words):
    """What make does in a copy of the Makefile, with a Python that notes its arguments."""
    done = subprocess.run(["make", "-C", str(folder), "demo-full", *words], capture_output=True, text=True)
    return done.returncode, (folder / "calls").read_text().splitlines(), done


@pytest.fixture
def checkout(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text(
        '#!/bin/sh\necho "$*" >>calls\n[ $2 = grid ] && exit ${GRID:-0}; exit ${REPORT:-0}\n'
    )
    (tmp_path / ".venv/bin/python").chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv/ready").touch()
    return tmp_path


GRID = "mmrl.py grid --suite scripts/demo_full.yaml --jobs 2 --root {data} --output {output}/demo_full"
REPORT = "mmrl.py report {output}/demo_full --out {output}/demo_full_report --title The embedded suite"


def test_make_runs_the_suite_and_then_the_report(checkout):
    status, calls, done = make(checkout)
    assert status == 0, done.stderr
    assert calls == [GRID.format(data="data/", output="output"), REPORT.format(output="output")]
    (checkout / "calls").unlink()
    status, calls, _ = make(checkout, "METHODS=CoOp TCP", "DATA=d", "OUTPUT=o")
    assert status == 0 and calls[0] == GRID.format(data="d", output="o") + " --methods CoOp TCP"


@pytest.mark.parametrize(("grid", "report", "calls"), [(1, 0, 2), (130, 0, 1), (2, 0, 1), (0, 1, 2)])
def test_make_fails_where_a_part_fails_and_reports_unless_it_was_stopped(grid, report, calls, checkout, monkeypatch):
    monkeypatch.setenv("GRID", str(grid))
    monkeypatch.setenv("REPORT", str(report))
    status, called, _ = make(checkout)
    assert status != 0 and len(called) == calls
