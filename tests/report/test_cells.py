"""What belongs into one cell and what does not."""

from __future__ import annotations

import json

import pytest

from reporting.ablations import ablations
from reporting.command import defaults
from reporting.load.gather import gather
from reporting.load.result import Key, Row
from reporting.report import Request, build
from runs import record

DTD = Key("base2new", "ViT-B/16", Row("MMRL"), "dtd", "dtd", "base", 16)


def test_a_cell_of_mixed_settings_is_refused_with_the_difference(runs):
    first = runs.add("base2new", "dtd", "base", 80.0, seed=1)
    second = runs.add("base2new", "dtd", "base", 81.0, seed=2, hidden={"OPTIM.LR": 0.5})
    cells = runs.cells()
    assert str(cells.get(DTD).text()) == "(mixed settings!)" and cells.get(DTD).center is None
    assert cells.refusals == [
        f"MMRL on dtd (base2new, base, 16 shots): settings differ between {first} and {second}: OPTIM.LR: 0.001 -> 0.5"
    ]


def test_a_setting_that_an_older_record_lacks_is_no_difference(runs):
    runs.add("base2new", "dtd", "base", 80.0, seed=1)
    folder = runs.add("base2new", "dtd", "base", 82.0, seed=2)
    content = json.loads((folder / record.RECORD).read_text())
    del content["config"]["TRAINER.MMRL.REGULARIZER"], content["checksum"]
    record.write(folder, content)
    assert runs.cells().get(DTD).center == 81.0


def test_a_seed_that_is_there_twice_is_refused_with_both_folders(runs):
    first = runs.add("base2new", "dtd", "base", 80.0)
    second = runs.add("base2new", "dtd", "base", 81.0, folder="other/shots_16/MMRL/vit_b16/seed1")
    cells = runs.cells()
    assert cells.get(DTD).text() == "(seed twice!)"
    assert cells.refusals == [f"MMRL on dtd (base2new, base, 16 shots): seed 1 twice, in {first} and {second}"]


def test_a_copy_of_a_run_counts_once(runs):
    runs.add("base2new", "dtd", "base", 80.0, run_id="same")
    runs.add("base2new", "dtd", "base", 80.0, run_id="same", folder="copy/shots_16/MMRL/vit_b16/seed1")
    found = gather([runs.output, runs.output])
    assert len(found.results) == 1 and "copy of the run" in found.notes[0]


def test_a_half_of_another_model_is_left_out(runs):
    runs.pair("dtd", 80.0, 60.0)
    folder = runs.output / "base2new/train_base/dtd/shots_16/MMRL/vit_b16/seed1"
    content = json.loads((folder / record.RECORD).read_text())
    del content["checksum"]
    record.write(folder, {**content, "run_id": "trained anew"})
    cells = runs.cells(1)
    assert cells.get(DTD._replace(part="new")).center is None
    assert "tested another model" in cells.notes[0]


def test_the_source_tested_once_more_counts_once(runs):
    trained = runs.add("xd", "dtd", "all", 50.0)
    model = json.loads((trained / record.RECORD).read_text())["run_id"]
    again = "xd/test/dtd/shots_16/MMRL/vit_b16_cross_datasets/seed1"
    runs.add("xd", "dtd", "all", 50.0, folder=again, mode="eval", hidden={"run.model": model})
    cells = runs.cells(1)
    assert cells.get(cells.keys()[0]).text() == "50.00" and not cells.refusals
    assert "tests once more" in cells.notes[0]


def test_seeds_that_are_not_asked_for_are_left_out_and_named(runs):
    for seed in (1, 2, 3):
        runs.add("base2new", "dtd", "base", 80.0 + seed, seed=seed)
    cells = runs.cells(1, 2)
    assert cells.get(DTD).text() == "81.50 ± 0.71"
    assert "seed 3 is not asked for" in cells.notes[0]


@pytest.mark.parametrize(
    ("seeds", "expected"), [((1,), "1, 2, 3"), ((1, 2, 3), "1, 2, 3"), ((0, 1, 2), "0, 1, 2"), ((1, 2024), "1, 2024")]
)
def test_which_seeds_should_be_there_unless_the_user_says_so(runs, seeds, expected):
    for seed in seeds:
        runs.add("base2new", "dtd", "base", 80.0, seed=seed)
    report = build(gather([runs.output]), Request(), defaults())
    assert f"over seeds {expected};" in report.about[1]


def test_a_sweep_joins_named_rows_and_the_default(runs):
    for seed in (1, 2):
        runs.pair("dtd", 80.0, 60.0, seed=seed)
        runs.pair("dtd", 70.0 + seed, 50.0, seed=seed, changes={"TRAINER.MMRL.ALPHA": 0.5})
    cells = runs.cells(1, 2)
    (table,) = ablations(cells, cells.keys(), paper=True)
    assert table.name == "ablation_mmrl_alpha_vit_b_16"
    assert table.texts() == [
        ["dtd", "0.5", "71.50 ± 0.71", "50.00 ± 0.00", "58.85 ± 0.24", "-9.72 ± 2.15"],
        ["dtd", "0.7 (default)", "80.00 ± 0.00", "60.00 ± 0.00", "68.57 ± 0.00", ""],
    ]
    assert table.notes == ["n = 2 seeds in every row."]


def test_lambda_is_compared_with_tables_5_and_8_and_with_each_data_sets_default(runs):
    for name in ("imagenet", "dtd"):  # their defaults are 0.5 and 6
        runs.pair(name, 80.0, 60.0)
        runs.pair(name, 70.0, 60.0, changes={"TRAINER.MMRL.REG_WEIGHT": 4.0})
    cells = runs.cells(1)
    (table,) = ablations(cells, cells.keys(), paper=True)
    lines = {(row[0], row[1]): dict(zip(table.headers, row, strict=True)) for row in table.texts()}
    assert ("imagenet", "0.5 (default)") in lines and ("dtd", "6.0 (default)") in lines
    assert lines["imagenet", "4.0"]["Published HM"] == "74.04" and lines["imagenet", "4.0"]["Published base"] == "77.67"
    assert lines["dtd", "4.0"]["Published base"] == "" and lines["dtd", "4.0"]["Gap HM"].startswith("-")
    assert lines["dtd", "0.5"]["HM"] == "-"  # has not run there
    assert lines["average of 2", "4.0"]["HM"] == "64.62" and "data sets!" in lines["average of 2", "0.5"]["HM"]


def test_eurosat_keeps_its_own_width_in_that_sweep(runs):
    runs.pair("dtd", 80.0, 60.0)
    runs.pair("eurosat", 90.0, 60.0)
    runs.pair("dtd", 70.0, 60.0, changes={"TRAINER.MMRL.REP_DIM": 32})
    cells = runs.cells(1)
    (table,) = ablations(cells, cells.keys(), paper=False)
    assert [row[:3] for row in table.texts()][:2] == [
        ["average of 2", "32", "80.00"],
        ["average of 2", "512 (default)", "85.00"],
    ]
    assert (
        table.notes == ["n = 1 seed in every row.", "eurosat keeps its default value in every row."]
        and len(table.rows) == 4
    )


@pytest.mark.parametrize(("variant", "part", "row"), [("wo_DS1", "base", "55.00"), ("wo_DS2", "new", "55.00")])
def test_a_test_of_the_full_model_as_a_variant_takes_its_other_half_from_there(runs, variant, part, row):
    runs.pair("dtd", 80.0, 60.0)
    model = runs.ids["base2new/train_base/dtd/shots_16/MMRL/vit_b16/seed1"]
    changes = {"TRAINER.MMRL.VARIANT": variant, "run.model": model}
    runs.add("base2new", "dtd", part, 55.0, hidden=changes, folder=f"{variant}_seed1", mode="eval")
    cells = runs.cells(1)
    (table,) = ablations(cells, cells.keys(), paper=False)
    assert not cells.refusals
    line = next(line for line in table.texts() if line[1] == variant)
    assert line[2:4] == (["55.00", "60.00"] if part == "base" else ["80.00", "55.00"])


def test_rows_that_change_several_settings_stand_together(runs):
    runs.pair("dtd", 80.0, 60.0)
    runs.pair("dtd", 70.0, 60.0, changes={"TRAINER.MMRL.ALPHA": 0.5, "TRAINER.MMRL.REP_DIM": 32})
    cells = runs.cells(1)
    (table,) = ablations(cells, cells.keys(), paper=False)
    assert table.texts() == [["dtd", "ALPHA=0.5+REP_DIM=32", "70.00", "60.00", "64.62", "-3.96"]]


def named(names: str, total: int = 20) -> list[dict]:
    return [{"class": name, "total": total, "correct": 1} for name in names]


def test_halves_of_different_class_lists_are_no_pair(runs):
    base = runs.add("base2new", "dtd", "base", 80.0, per_class=named("abc"))
    new = runs.add("base2new", "dtd", "new", 60.0, per_class=named("cd"))
    runs.pair("dtd", 70.0, 50.0, seed=2)
    cells = runs.cells(1, 2)
    assert [half.text() for half in cells.halves(DTD)] == ["70.00 (1 of 2!)", "50.00 (1 of 2!)"]
    assert cells.notes == [f"{new} is no pair with {base}: 'c' is of both halves"]


def test_results_on_different_images_share_no_table(runs):
    first = runs.add("fewshot", "dtd", "all", 70.0, per_class=named("ab"), method="CoOp")
    other = runs.add("fewshot", "dtd", "all", 80.0, per_class=named("ab", 21))
    runs.add("fewshot", "eurosat", "all", 60.0, per_class=named("cd"))
    cells = runs.cells(1)
    assert {key.dataset: cells.get(key).text() for key in cells.keys()} == {
        "dtd": "(other images!)",
        "eurosat": "60.00",
    }
    assert cells.refusals == [
        f"dtd (fewshot, all): {first} and {other} were not tested on the same images (20 images of 'a' in one alone): "
        "report them apart, or run one of them again"
    ]
