"""What a report says is missing, and that its commands would run exactly that."""

from __future__ import annotations

import shlex

import pytest

from commands import grid
from reporting.command import defaults
from reporting.load.gather import gather
from reporting.missing import missing
from reporting.page import page
from reporting.report import Request, build
from reporting.write import markdown
from runs.config import RESOLVED
from runs.grid import cli
from runs.grid.expand import expand


def lacks(runs, *seeds: int):
    cells = runs.cells(*seeds)
    return missing(cells, cells.keys())


def names_of(command: str) -> list[str]:
    """The runs that a command stands for, as the grid expands it."""
    words = shlex.split(command)
    assert words[:3] == ["python", "mmrl.py", "grid"]
    return [run.name for run in expand(cli.grids_of(grid.parse_args(words[3:])))]


def test_nothing_is_missing_where_everything_is_there(runs):
    for seed in (1, 2, 3):
        runs.pair("dtd", 80.0, 60.0, seed=seed)
        runs.pair("eurosat", 80.0, 60.0, seed=seed)
    assert lacks(runs) == []


def test_a_missing_half_seed_and_data_set_are_found(runs):
    for seed in (1, 2, 3):
        runs.pair("dtd", 80.0, 60.0, seed=seed)
    runs.pair("dtd", 80.0, 60.0, seed=1, method="CoOp")
    runs.add("base2new", "dtd", "base", 80.0, seed=2, method="CoOp")
    runs.pair("eurosat", 80.0, 60.0, seed=1)
    found = {lack.methods[0] + " " + lack.datasets[0]: lack for lack in lacks(runs)}
    assert set(found) == {"MMRL eurosat", "CoOp dtd", "CoOp eurosat"}
    assert found["CoOp dtd"].seeds == (2, 3) and found["CoOp eurosat"].seeds == (1, 2, 3)
    assert found["CoOp dtd"].text() == "base2new, CoOp: dtd, 16 shots, seeds 2, 3"
    output = str(runs.output)
    assert shlex.split(found["CoOp dtd"].command()) == (
        "python mmrl.py grid base2new --datasets dtd --methods CoOp --shots 16 --seeds 2 3 --output".split() + [output]
    )
    assert names_of(found["CoOp dtd"].command()) == [
        f"base2new/{half}/dtd/shots_16/CoOp/vit_b16_ctxv1/seed{seed}"
        for seed in (2, 3)
        for half in ("train_base", "test_new")
    ]


def test_equal_lacks_are_one_command(runs):
    for name in ("dtd", "eurosat"):
        for method in ("MMRL", "CoOp"):
            for shots in (1, 2):
                runs.add("fewshot", name, "all", 50.0, method=method, shots=shots)
    (lack,) = lacks(runs, 1, 2)
    assert len(names_of(lack.command())) == 2 * 2 * 2
    assert (lack.datasets, lack.methods, lack.shots, lack.seeds) == (("dtd", "eurosat"), ("CoOp", "MMRL"), (1, 2), (2,))


def test_a_sweeps_values_are_one_command_with_the_values_of_the_records(runs):
    runs.pair("dtd", 80.0, 60.0)
    runs.pair("dtd", 80.0, 60.0, seed=2)
    for layers in ([1, 2], [3]):
        runs.pair("dtd", 70.0, 60.0, changes={"TRAINER.MMRL.REP_LAYERS": layers})
    (lack,) = lacks(runs, 1, 2)
    assert lack.swept == (("TRAINER.MMRL.REP_LAYERS", ("[1, 2]", "[3]")),)
    assert names_of(lack.command()) == [
        f"base2new/{half}/dtd/shots_16/MMRL/vit_b16+REP_LAYERS={layers}/seed2"
        for layers in ("1_2", "3")
        for half in ("train_base", "test_new")
    ]


def test_settings_that_the_names_do_not_show_are_kept(runs):
    folder = runs.add("fewshot", "dtd", "all", 50.0, hidden={"OPTIM.MAX_EPOCH": 2, "INPUT.TRANSFORMS": ["normalize"]})
    (folder / RESOLVED).write_text("DATASET: {ROOT: some folder/data}\n")
    (lack,) = lacks(runs, 1, 2)
    assert lack.options == (("INPUT.TRANSFORMS", "['normalize']"), ("OPTIM.MAX_EPOCH", "2"))
    words = shlex.split(lack.command())
    assert words[words.index("--root") + 1] == "some folder/data"
    assert words[words.index("--") + 1 :] == ["INPUT.TRANSFORMS", "['normalize']", "OPTIM.MAX_EPOCH", "2"]
    assert names_of(lack.command()) == ["few_shot/dtd/shots_16/MMRL/vit_b16_few_shot/seed2"]


def test_cross_dataset_names_the_source_and_its_targets(runs):
    runs.add("xd", "imagenet", "all", 70.0)
    runs.add("xd", "dtd", "all", 50.0, source="imagenet")
    (lack,) = lacks(runs, 1, 2)
    words = shlex.split(lack.command())
    assert words[words.index("--datasets") + 1 : words.index("--methods")] == ["dtd"]
    assert names_of(lack.command()) == [
        "xd/train/imagenet/shots_16/MMRL/vit_b16_cross_datasets/seed2",
        "xd/test/dtd/shots_16/MMRL/vit_b16_cross_datasets/seed2",
    ]


def test_a_refused_cell_is_not_missing(runs):
    runs.add("fewshot", "dtd", "all", 80.0, seed=1)
    runs.add("fewshot", "dtd", "all", 81.0, seed=2, hidden={"OPTIM.LR": 0.5})
    assert lacks(runs) == []


def test_data_without_a_configuration_have_no_command(runs):
    runs.add("fewshot", "imagefolder", "all", 80.0, dataset_config="animals")
    (lack,) = lacks(runs, 1, 2)
    assert lack.command() == "# no command of the grid: it has no configuration of animals"


def test_a_configuration_that_names_other_data_gives_no_command(runs):
    runs.add("fewshot", "imagefolder", "all", 80.0, hidden={"DATASET.FOLDER": "animals"})
    (lack,) = lacks(runs, 1, 2)
    assert lack.command() == (
        "# no command of the grid: its configuration of imagefolder names other data than these runs had"
    )


def test_where_one_data_set_lies_is_not_carried_over_to_another(runs):
    runs.add("fewshot", "imagefolder", "all", 80.0, hidden={"DATASET.FOLDER": "animals", "OPTIM.MAX_EPOCH": 2})
    report = build(gather([runs.output]), Request(datasets=["imagefolder", "dtd"], seeds=(1,)), defaults())
    (lack,) = report.missing
    assert (lack.datasets, lack.options) == (("dtd",), (("OPTIM.MAX_EPOCH", "2"),))


@pytest.mark.parametrize("facts", [{"status": "failed", "error": "out of memory"}, {"status": "running"}])
def test_an_unfinished_run_is_named_with_why_and_is_missing(runs, facts):
    folder = runs.add("fewshot", "dtd", "all", 80.0, method="CoOp", **facts)
    runs.add("fewshot", "dtd", "all", 80.0)
    report = build(gather([runs.output]), Request(seeds=(1,)), defaults())
    why = f"{facts['status']}: {facts['error']}" if "error" in facts else facts["status"]
    assert report.unfinished == [f"{folder} is not finished ({why})"]
    assert [lack.methods for lack in report.missing] == [("CoOp",)]
    (table,) = [table for table in report.tables if table.name == "few_shot_vit_b_16"]
    assert table.texts() == [["dtd", "MMRL", "80.00"]]  # what did not end is in a section of its own
    for text, heading in ((page(report), '<h2 id="failed-or-unfinished-runs">'), (markdown(report), "## Failed or ")):
        assert why in text.split(heading)[1].split("Missing<")[0]


def test_what_is_asked_for_by_name_and_has_not_run_is_missing(runs):
    runs.add("fewshot", "dtd", "all", 80.0)
    asked = Request(methods=["MMRL", "CoOp"], datasets=["dtd", "eurosat"], seeds=(1,))
    report = build(gather([runs.output]), asked, defaults())
    names = sorted(name for lack in report.missing for name in names_of(lack.command()))
    assert [name.split("/")[1:4:2] for name in names] == [["dtd", "CoOp"], ["eurosat", "CoOp"], ["eurosat", "MMRL"]]
