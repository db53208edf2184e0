"""What stands in the main tables and what apart, in which order, and what a report says of its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from reporting.command import defaults
from reporting.load.gather import gather
from reporting.report import Request, build
from runs import record


def report_of(runs, **asked):
    return build(gather([runs.output]), Request(seeds=(1,), **asked), defaults())


def rows(report, name: str) -> list[list[str]]:
    """The data sets and methods of a table."""
    (table,) = [table for table in report.tables if table.name == name]
    return [row[:2] for row in table.texts()]


def changed(folder: Path, **facts) -> None:
    record.write(folder, {**(record.read(folder) or {}), **facts})


def test_settings_by_hand_and_other_configurations_are_apart(runs):
    runs.pair("dtd", 80.0, 60.0)
    runs.pair("dtd", 70.0, 60.0, method="CoOp", hidden={"DATALOADER.NUM_WORKERS": 0, "OFFICIAL_STREAM": True})
    runs.pair("dtd", 75.0, 60.0, changes={"TRAINER.MMRL.ALPHA": 0.5})
    runs.pair("eurosat", 99.0, 99.0, hidden={"OPTIM.MAX_EPOCH": 2, "DATASET.TEMPLATE": "{}"})
    of_vit_b16 = {"TRAINER.COOP.CTX_INIT": "", "TRAINER.COOP.N_CTX": 16}
    for half, part in (("train_base", "base"), ("test_new", "new")):
        folder = f"base2new/{half}/dtd/shots_16/CoOp/vit_b16/seed1"
        runs.add("base2new", "dtd", part, 98.0, "CoOp", hidden=of_vit_b16, folder=folder)
    report = report_of(runs)
    assert rows(report, "base_to_new_vit_b_16") == [["dtd", "CoOp"], ["dtd", "MMRL"]]
    apart = rows(report, "exploratory_base_to_new_vit_b_16")
    assert [row for row in apart if row[0] != "average of 2"] == [
        ["dtd", "CoOp [vit_b16]"],
        ["dtd", "MMRL [DATASET.TEMPLATE={}, OPTIM.MAX_EPOCH=2]"],
        ["eurosat", "CoOp [vit_b16]"],
        ["eurosat", "MMRL [DATASET.TEMPLATE={}, OPTIM.MAX_EPOCH=2]"],
    ]
    assert [section.heading for section in report.sections] == [
        *("Base to new", "Ablations", "Cost", "Exploratory", "Runs")
    ]
    assert any("in the section Exploratory" in note for note in report.notes)


def test_a_method_of_the_readers_own_is_in_the_main_table_and_last(runs):
    for method in ("MMRL", "ZeroshotCLIP", "CoOp"):
        runs.add("fewshot", "dtd", "all", 50.0, method=method)
    changed(runs.add("fewshot", "dtd", "all", 60.0, folder="mine"), method="Mine", settings="mine")
    report = report_of(runs)
    names = [name for _, name in rows(report, "few_shot_vit_b_16")]
    assert names[:3] == ["ZeroshotCLIP", "CoOp", "MMRL"] and names[3].startswith("Mine") and len(names) == 4
    names = [name for _, name in rows(report_of(runs, order=["Mine", "MMRL"]), "few_shot_vit_b_16")]
    assert names[0].startswith("Mine") and names[1:] == ["MMRL", "ZeroshotCLIP", "CoOp"]


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "All runs here are of the embedded suite: a small CLIP on small images, not the paper's CLIP or data."),
        ({"dataset": "ImageFolder", "dataset_config": "textile"}, "All runs here use the embedded CLIP, a small one"),
    ],
)
def test_only_the_embedded_suite_is_called_so(runs, facts, line):
    changed(runs.add("fewshot", "digits", "all", 50.0), **facts)
    assert report_of(runs).about[0].startswith(line)


def test_there_is_no_plot_without_a_number(runs):
    for shots in (1, 2):
        runs.add("fewshot", "dtd", "all", 50.0, shots=shots)
        runs.add("fewshot", "eurosat", "all", 50.0, shots=shots, method="CoOp")
    names = [plot.name for plot in report_of(runs).plots]
    assert names == [f"few_shot_vit_b_16_{name}" for name in ("dtd", "eurosat", "all")]  # no average has a number
