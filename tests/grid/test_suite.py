"""Suites, and the paper's tables among them."""

from __future__ import annotations

import csv
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

import train
from commands import script
from runs.grid import expand as expanding
from runs.grid.expand import expand
from runs.grid.suite import make_grid, read_suite
from runs.protocols import Run

ROOT = Path(train.__file__).parent
NAMES = {"CLIP": "ZeroshotCLIP", "MMA": "MultiModalAdapter", "MetaPrompt": "Meta_B2N"}  # the paper's: ours
TABLES = sorted(path.stem for path in (ROOT / "scripts/reproduce").glob("*.yaml"))


@cache
def runs_of(name: str) -> list[Run]:
    return expand(read_suite(ROOT / f"scripts/reproduce/{name}.yaml", {}))


def resolved(run: Run):
    words = tuple(word for pair in run.changes for word in pair)
    return expanding.resolved(run.dataset, run.method, run.cfg, "B2N", words)


def published(table: str, *columns: str) -> set[tuple[str, ...]]:
    with open(ROOT / f"paper/{table}.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("dataset") != "average"]
    return {tuple(NAMES.get(row[column], row[column]) for column in columns) for row in rows}


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
        ("table4", 3 * (11 * 7 + 10 * 5), 3 * (11 * 7 + 10 * 5)),  # EuroSAT keeps its d_r, and 512 is the full model
        ("table9", 11 * 3 * 3, 11 * 3 * 3),
        ("figure5", 11 * 3 * (9 + 8), 11 * 3 * (9 + 8)),  # J = 6 and K = 5 are one run
    ],
)
def test_the_tables_have_their_runs(name, trained, tested):
    runs = runs_of(name)
    assert (sum(run.model is None for run in runs), sum(run.model is not None for run in runs)) == (trained, tested)
    assert {run.seed for run in runs} == ({1} if name == "table6" else {1, 2, 3})


def test_every_published_cell_has_its_run():
    """The methods, data sets and shots of Tables 1, 2, 3, 10 and 11, as the project has the paper's numbers."""
    cells = published("table1_base_to_novel", "method", "dataset")
    for step in ("base2new_train", "base2new_test"):
        assert {(run.method, run.dataset) for run in runs_of("table1") if run.step == step} == cells
    cells = published("table2_cross_dataset", "method", "dataset")
    cells |= published("table3_domain_generalization", "method", "dataset")
    found = {(run.method, run.dataset) for run in runs_of("table2_3")}
    methods, sets = ({cell[i] for cell in cells} for i in (0, 1))
    assert cells <= found == {(method, data) for method in methods for data in sets}
    cells = published("table10_11_few_shot", "method", "dataset", "shots")
    assert {(run.method, run.dataset, str(run.shots)) for run in runs_of("table10_11")} == cells


@pytest.mark.parametrize(
    ("name", "table", "column", "key"),
    [
        ("table4", "table4_variants", "variant", "VARIANT"),
        ("table4", "table4_rep_dim", "rep_dim", "REP_DIM"),
        ("table5", "table5_alpha", "alpha", "ALPHA"),
        ("table5", "table5_lambda_imagenet", "lambda", "REG_WEIGHT"),
        ("table8", "table8_lambda", "lambda", "REG_WEIGHT"),
        ("table9", "table9_regularization", "regularization", "REGULARIZER"),
    ],
)
def test_every_published_setting_has_its_runs(name, table, column, key):
    variants = {"MMRL": "full", "MMRL-dagger": "biased", "Cosine": "cos", "L1": "l1", "MSE": "mse"}
    rows = published(table, column)
    wanted = {variants.get(value, value.replace("w/o ", "wo_")) for (value,) in rows}
    for dataset in ("imagenet", "dtd"):
        if dataset == "dtd" and table == "table5_lambda_imagenet":
            continue
        found = {resolved(run).TRAINER.MMRL[key] for run in runs_of(name) if run.dataset == dataset}
        assert found == (wanted if key in ("VARIANT", "REGULARIZER") else set(map(float, wanted)))


def test_the_cost_table_has_every_method_and_the_small_model():
    named = {(NAMES.get(method, method),) for (method,) in published("table6_cost", "method") if method != "MMRL*"}
    runs = [run for run in runs_of("table6") if run.model is None]
    assert {(run.method,) for run in runs} == named
    assert [dict(run.changes).get("TRAINER.MMRL.REP_DIM") for run in runs if run.method == "MMRL"] == [None, "32"]
    assert all(resolved(run).DATALOADER.TEST.BATCH_SIZE == 100 for run in runs)


def test_listing_a_table(tmp_path, python):
    environment = {**os.environ, "PYTHON": python, "OUTPUT": str(tmp_path / "runs"), "DATA": "images"}
    words = ["table9", "--datasets", "digits", "--seeds", "4", "--list"]
    command = ["bash", str(ROOT / "scripts/reproduce.sh"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    tags = ("", "+REGULARIZER=l1", "+REGULARIZER=mse")
    halves = ("train_base", "test_new")
    names = [f"base2new/{half}/digits/shots_16/MMRL/embedded{tag}/seed4" for tag in tags for half in halves]
    lines = [f"missing  {name}" for name in names]
    assert done.stdout.splitlines() == [*lines, f"6 runs in {tmp_path / 'runs'}: 6 missing"] and done.returncode == 0


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_tried_on_digits(name, tmp_path, monkeypatch, capsys):
    """What the script does, as far as the commands."""
    monkeypatch.setenv("OUTPUT", str(tmp_path / "runs"))
    monkeypatch.setenv("DATA", "images")
    words = ["--datasets", "digits", "--seeds", "4", "--methods", "MMRL", "--dry-run"]
    assert script.main([str(ROOT / "scripts/reproduce.sh"), name, *words]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert (
        err == ""
        and lines
        and all(f"{ROOT / 'train.py'} --root images --seed 4 --trainer MMRL" in line for line in lines)
    )
    assert not (tmp_path / "runs").exists()


def test_an_unknown_table(capsys):
    assert script.main([str(ROOT / "scripts/reproduce.sh"), "table7"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: unknown table or figure table7; known: figure5 table1") and err.count("\n") == 1
