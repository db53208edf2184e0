"""What runs cost, and where numbers come from."""

from __future__ import annotations

from reporting.names import PAPER_DATASETS
from reporting.tables.costs import cost_tables, runs_table
from reporting.tables.table import Table

COST = {
    "learned_parameters": 4_992_256,
    "ms_per_training_image": 5.5,
    "test_images_per_second": 700.0,
    "peak_memory": {"bytes": 3 * 2**30, "kind": "CUDA allocator"},
}


def tables(runs, paper: bool = False, seeds: tuple[int, ...] = (1,)) -> list[Table]:
    cells = runs.cells(*seeds)
    return list(cost_tables(cells, cells.keys(), paper))


def test_cost_beside_hm_and_table_6(runs):
    runs.pair("imagenet", 80.0, 60.0, **COST)
    runs.pair("imagenet", 80.0, 60.0, seed=2, **{**COST, "ms_per_training_image": 6.5})
    (table,) = tables(runs, paper=True, seeds=(1, 2))
    assert dict(zip(table.headers, table.texts()[0], strict=True)) == {
        "Data set": "imagenet",
        "Method": "MMRL",
        "Device": "cpu",
        "Learned values (M)": "4.992 ± 0.000",
        "ms per training image": "6.00 ± 0.71",
        "Test images/s": "700.0 ± 0.0",
        "Peak memory (GiB)": "3.00 ± 0.00",
        "HM": "68.57 ± 0.00",
        "Published values (M)": "4.992",
        "Published ms": "5.30",
        "Published images/s": "762.4",
        "Published HM (average)": "81.20",
    }
    assert table.notes[0] == "n = 2 seeds in every row."


def test_the_row_of_table_6_with_a_narrow_space_has_its_own_published_numbers(runs):
    changes = {"DATALOADER.TEST.BATCH_SIZE": 100, "TRAINER.MMRL.REP_DIM": 32}
    runs.pair("imagenet", 80.0, 60.0, changes=changes, **COST)
    (table,) = tables(runs, paper=True)
    assert table.rows[0][table.headers.index("Published values (M)")] == 0.689


def test_times_of_a_busy_machine_are_left_out(runs):
    """Of four runs, one trained and another was tested beside other programs; of one nobody knows."""
    calm, busy = {"training": 0.0, "last_test": 0.05}, {"training": 0.4, "last_test": 0.01}
    found = [(5.5, calm), (138.0, busy), (6.5, {**calm, "last_test": 0.06}), (7.5, None)]
    for seed, (ms, waited) in enumerate(found, start=1):
        runs.pair("dtd", 80.0, 60.0, seed=seed, **{**COST, "ms_per_training_image": ms, "waited": waited})
    (table,) = tables(runs, seeds=(1, 2, 3, 4))
    row = dict(zip(table.headers, table.texts()[0], strict=True))
    assert row["ms per training image"] == "6.50 ± 1.00 (3 of 4!)" and row["Test images/s"] == "700.0 ± 0.0 (3 of 4!)"
    assert row["Peak memory (GiB)"] == "3.00 ± 0.00" and table.notes[0] == "n = 4 seeds in every row."
    why = "left out, which for more than 5% of that time waited for processors that other programs had."
    assert table.notes[-3:] == [
        f"ms per training image: 1 run is {why}",
        f"Test images/s: 1 run is {why}",
        "1 run does not tell whether the machine was busy (older, or not on Linux): the times count.",
    ]


def test_a_cost_that_only_a_busy_machine_gave_is_none(runs):
    runs.pair("dtd", 80.0, 60.0, **COST, waited={"training": 0.5, "last_test": 0.5})
    (table,) = tables(runs)
    assert "ms per training image" not in table.headers and "Peak memory (GiB)" in table.headers


def test_devices_are_never_averaged(runs):
    runs.pair("dtd", 80.0, 60.0, **COST)
    runs.pair("dtd", 80.0, 60.0, seed=2, device="cuda (NVIDIA H100)", **COST)
    (table,) = tables(runs, seeds=(1, 2))
    assert [row[2] for row in table.texts()] == ["cpu", "cuda (NVIDIA H100)"]
    assert all("(1 of 2!)" in row[3] for row in table.texts())


def test_what_a_record_does_not_say_is_left_out(runs):
    runs.pair("dtd", 80.0, 60.0, learned_parameters=0)
    (table,) = tables(runs)
    assert table.headers == ["Data set", "Method", "Device", "Learned values (M)", "HM"]
    assert table.texts() == [["dtd", "MMRL", "cpu", "0.000", "68.57"]]


def test_what_is_dear_is_not_best_and_devices_do_not_compete(runs):
    runs.pair("dtd", 80.0, 60.0, **COST)
    runs.pair("dtd", 80.0, 70.0, method="CoOp", **{**COST, "learned_parameters": 8000, "test_images_per_second": 9.0})
    runs.pair("dtd", 80.0, 60.0, method="CoCoOp", device="cuda", **COST)
    (table,) = tables(runs)
    found = {
        (row[1], table.headers[c]): table.ranks().get((r, c), 0) for r, row in enumerate(table.rows) for c in (3, 5)
    }
    values, speed = "Learned values (M)", "Test images/s"
    assert found[("CoOp", values)] == found[("MMRL", speed)] == 1 and found[("MMRL", values)] == 2
    assert found[("CoOp", speed)] == 2 and found[("CoCoOp", values)] == found[("CoCoOp", speed)] == 0


def test_costs_of_ablations_are_a_table_of_their_own(runs):
    runs.pair("dtd", 80.0, 60.0, **COST)
    runs.pair("dtd", 80.0, 60.0, changes={"TRAINER.MMRL.REP_DIM": 32}, **COST)
    assert [(table.name, [row[1] for row in table.texts()]) for table in tables(runs)] == [
        ("cost_vit_b_16", ["MMRL"]),
        ("ablations_cost_vit_b_16", ["MMRL [+REP_DIM=32]"]),
    ]


def test_every_run_is_listed_with_what_made_it(runs):
    commit = {"id": "0123456789abcdef", "dirty": True}
    folder = runs.add("fewshot", PAPER_DATASETS[0], "all", 80.125, commit=commit, versions={"torch": "2.4"})
    cells = runs.cells(1)
    (line,) = runs_table(cells.results(cells.keys()[0])).texts()
    assert line[:9] == [str(folder), "MMRL", "fewshot", "imagenet", "imagenet", "all", "16", "1", "80.12"]
    assert line[10:12] == ["cpu", "0123456789 and changes"] and line[13] == "2.4"
