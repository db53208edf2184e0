"""Suites, and the paper's tables among them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import train
from runs.grid.expand import expand
from runs.grid.suite import make_grid, read_suite

ROOT = Path(train.__file__).parent
TABLES = sorted(path.stem for path in (ROOT / "scripts/reproduce").glob("*.yaml"))


def test_a_suite_and_what_replaces_its_lists(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "- {protocol: base2new, datasets: [digits], methods: [MMRL, CoOp], seeds: [1, 2]}\n"
        "- protocol: fewshot\n"
        "  datasets: [digits, dtd]\n"
        "  shots: [1, 4]\n"
        "  seeds: [1]\n"
        "  set: {TRAINER.MMRL.REP_LAYERS: [[1, 2], [2]], OPTIM.LR: 0.1}\n"
        "  options: {OPTIM.MAX_EPOCH: 2}\n"
    )
    both = read_suite(path, {})
    assert len(expand(both)) == 8 + 2 * 2 * 2
    last = expand(both)[-1]
    assert last.changes == (("OPTIM.LR", "0.1"), ("TRAINER.MMRL.REP_LAYERS", "[2]"))
    assert last.options == ("OPTIM.MAX_EPOCH", "2")
    assert {run.dataset for run in expand(read_suite(path, {"datasets": ["eurosat"], "seeds": ["7"]}))} == {"eurosat"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[", "is not valid YAML: "),
        ("{protocol: xd}", "must hold a list of grids"),
        ("[]", "must hold a list of grids"),
        ("- {protocol: xd}", "grid 1: datasets is missing"),
        ("- {protocol: xd, datasets: dtd}", "grid 1: datasets must be a list, not 'dtd'"),
        ("- {protocol: xd, datasets: [dtd], sets: 1}", "grid 1: unknown key sets; did you mean set"),
        ("- {protocol: xd, datasets: [dtd], seeds: [one]}", "grid 1: seeds must be whole numbers, not 'one'"),
        ("- {protocol: xd, datasets: [dtd], shots: [1.5]}", "grid 1: shots must be whole numbers, not 1.5"),
        ("- {protocol: xd, datasets: [dtd], set: [1]}", "grid 1: set must be a mapping, not"),
        ("- {protocol: xd, datasets: [dtd]}\n- {protocol: dx, datasets: [dtd]}", "grid 2: unknown protocol dx"),
    ],
)
def test_what_is_wrong_with_a_suite_is_named(tmp_path, text, line):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_suite(path, {})
    assert str(path) in str(error.value) and line in str(error.value) and "\n" not in str(error.value)


def test_a_suite_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no suite"):
        read_suite(tmp_path / "none.yaml", {})


def test_all_methods_are_each_method_once():
    grid = make_grid({"protocol": "xd", "datasets": ["dtd"], "methods": ["all"]})
    assert {"MMRL", "MultiModalAdapter"} < set(grid.methods) and "MMA" not in grid.methods


def test_every_table_of_the_paper_is_there():
    assert TABLES == sorted("table1 table2_3 table10_11 table4 table5 table6 table8 table9 figure5".split())


@pytest.mark.parametrize(
    ("name", "trained", "tested"),
    [
        ("table1", 11 * 12 * 3, 11 * 12 * 3),
        ("table2_3", 8 * 3, 8 * 3 * 14),
        ("table10_11", 11 * 7 * 5 * 3, 0),
        ("table5", 3 * (11 * 5 + 4), 3 * (11 * 5 + 4)),  # lambda 0.5 is the default on ImageNet: alpha 0.7 has that run
        ("table8", 11 * 11 * 3, 11 * 11 * 3),
        ("table6", 8, 8),
    ],
)
def test_the_tables_have_their_runs(name, trained, tested):
    runs = expand(read_suite(ROOT / f"scripts/reproduce/{name}.yaml", {}))
    assert (sum(run.model is None for run in runs), sum(run.model is not None for run in runs)) == (trained, tested)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_tried_on_digits(name, tmp_path):
    """The script itself, as far as the commands."""
    environment = {**os.environ, "PYTHON": sys.executable, "OUTPUT": str(tmp_path / "runs"), "DATA": "images"}
    words = ["--datasets", "digits", "--seeds", "4", "--methods", "MMRL", "--dry-run"]
    command = ["bash", str(ROOT / "scripts/reproduce.sh"), name, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines and all(f"{ROOT / 'train.py'} --root images --seed 4 --trainer MMRL" in line for line in lines)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_table():
    command = ["bash", str(ROOT / "scripts/reproduce.sh"), "table7"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: unknown table or figure table7; known: figure5 table1")
