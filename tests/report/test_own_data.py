"""Reports of all protocols on own data, against numbers computed by hand; whose results they are is never guessed."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path

import pytest
import yaml

import train
from commands import compare, grid, table
from reporting import changes, command
from reporting.load.gather import gather
from reporting.missing import MissingRuns
from reporting.tables.formats import comma_separated
from reporting.tables.table import Table
from runs import config, plan, protocols, record
from runs.grid import cli, expand
from runs.grid.suite import make_grid
from runs.protocols import Run

# Three sets of one's own; two of them lie in folders of the same last name, and one's name begins as another's.
OWN = {
    "textile": {"NAME": "ImageFolder", "FOLDER": "a/photos"},
    "textile300": {"NAME": "ImageFolder", "FOLDER": "b/photos"},
    "mytable": {"NAME": "Table", "FOLDER": "b/photos", "TABLE": "labels.csv"},
}
CLASSES = {"textile": "abcdef", "textile300": "ghij", "mytable": "klmnop"}
# Percent of CoOp with seed 1; seed 2 has 2 more, MMRL 10 more, and few-shot another 3 for each doubling of shots.
BASE = {"textile": 50.0, "textile300": 60.0, "mytable": 70.0}
NEW = {"textile": 40.0, "textile300": 30.0, "mytable": 20.0}
ALL = {"textile": 45.0, "textile300": 35.0, "mytable": 25.0}
CROSSED = {
    ("textile", "textile"): 47.0,
    ("textile", "textile300"): 37.0,
    ("textile", "mytable"): 27.0,
    ("mytable", "mytable"): 57.0,
    ("mytable", "textile"): 17.0,
    ("drawn_letters", "drawn_letters"): 71.0,
    ("drawn_letters", "drawn_letters_a"): 61.0,
    ("drawn_letters", "textile300"): 11.0,
}
GRIDS = [
    {"protocol": "base2new", "datasets": list(OWN)},
    {"protocol": "xd", "source": "textile", "datasets": ["textile300", "mytable"]},
    {"protocol": "xd", "source": "mytable", "datasets": ["textile"]},
    {"protocol": "xd", "source": "drawn_letters", "datasets": ["drawn_letters_a", "textile300"]},
    {"protocol": "fewshot", "datasets": list(OWN), "shots": [1, 2]},
]

MISSING = ("fewshot", "mytable", "CoOp", 2, 2)


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """The project's configurations and three copies for own data, as docs/your-own-data.md has a user make them."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "datasets").mkdir()
    (folder / "trainers").symlink_to(protocols.CONFIGS / "trainers")
    for path in (protocols.CONFIGS / "datasets").glob("*.yaml"):
        (folder / "datasets" / path.name).write_bytes(path.read_bytes())
    for name, node in OWN.items():
        node = {**node, "TEMPLATE": f"a photo of {name}, {{}}."}
        (folder / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump({"DATASET": node}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "CONFIGS", folder)
        for cached in (expand.resolved, changes.plain):
            cached.cache_clear()
        yield folder
    for cached in (expand.resolved, changes.plain):
        cached.cache_clear()


def accuracy(run: Run) -> float:
    """What a run comes to, by the rule above."""
    more = 2.0 * (run.seed - 1) + 10.0 * (run.method == "MMRL")
    if run.step == "fewshot":
        return ALL[run.dataset] + more + 3.0 * (run.shots - 1)
    if run.step.startswith("xd"):
        return CROSSED[(run.model or run).dataset, run.dataset] + more
    return (BASE if run.step == "base2new_train" else NEW)[run.dataset] + more


def classes_of(run: Run) -> list[str]:
    names = list(CLASSES.get(run.dataset, "xy"))
    half = (len(names) + 1) // 2
    return {"base": names[:half], "new": names[half:], "all": names}[protocols.STEPS[run.step].subsample]


def put(run: Run, output: Path, drop: tuple[str, ...] = ()) -> Path:
    """The record that train.py would leave of a run, from its command line on; without the fields in `drop`."""
    args = train.parse_args(run.arguments(str(output / "data"), str(output)))
    cfg = config.build_cfg(args)
    names = classes_of(run)
    about = {key: value for key, value in plan.describe(cfg, args).items() if key not in drop}
    this = record.Run(cfg.OUTPUT_DIR, plan.identify(cfg, args), about)
    this.start(
        yaml.safe_dump({"TRAINER": {"NAME": run.method}}),
        {"versions": {"torch": "2.4"}, "commit": {"id": "c" * 40}, "device": "cpu"},
    )
    facts = {
        "accuracy": accuracy(run),
        "per_class": [{"class": name, "total": 20, "correct": 10} for name in names],
        "data": {
            "digest": f"all of {run.dataset}",
            "test": {"digest": f"test of {run.dataset}, {len(names)}", "images": 20 * len(names)},
            "classnames": names,
            "all_classes": f"classes of {run.dataset}",
        },
    }
    if len(names) == 2 and run.step.startswith("base2new"):
        facts["notes"] = {"small_half": "a half of exactly two classes"}
    this.succeed({key: value for key, value in facts.items() if key not in drop})
    return Path(cfg.OUTPUT_DIR)


def runs_of(entry: dict) -> list[Run]:
    return expand.expand([make_grid({"methods": ["MMRL", "CoOp"], "seeds": [1, 2], **entry})])


@pytest.fixture(scope="module")
def filled(configs, tmp_path_factory) -> Path:
    """All protocols; one few-shot run of the table is missing."""
    output = tmp_path_factory.mktemp("output")
    for run in (run for entry in GRIDS for run in runs_of(entry)):
        if (run.step, run.dataset, run.method, run.shots, run.seed) != MISSING:
            put(run, output)
    return output


def rows(table: Table) -> dict[tuple[str, ...], dict[str, str]]:
    """A table's lines by their leading texts, unrounded."""
    found = csv.DictReader(io.StringIO(comma_separated(table)))
    return {tuple(row[key] for key in ("Data set", "Method") if key in row): row for row in found}


def percent(row: dict[str, str], *columns: str) -> list[float | None]:
    return [float(row[column]) if row[column] else None for column in columns]


def hm(base: float, new: float) -> float:
    return pytest.approx(2 * base * new / (base + new), abs=1e-6)


def test_every_number_of_all_protocols_is_that_of_its_run(filled):
    report = command.build(gather([filled]), command.Request(seeds=(1, 2)), command.defaults())
    assert not report.problems and [line.split()[0] for line in report.notes] == ["Confidence"]  # no scores are saved
    tables = {table.name: rows(table) for table in report.tables}
    assert {name for name in tables if "difference" not in name} == {
        "base_to_new_vit_b_16",
        "cross_dataset_textile_vit_b_16",
        "cross_dataset_mytable_vit_b_16",
        "cross_dataset_drawn_letters_embedded",
        "domain_generalisation_drawn_letters_embedded",
        "few_shot_vit_b_16",
        "cost_vit_b_16",
        "runs",
    }
    # The mean of two seeds is 1 above seed 1.
    halves = tables["base_to_new_vit_b_16"]
    for name in OWN:
        for method, more in {"CoOp": 1.0, "MMRL": 11.0}.items():
            row = halves[name, method]
            base, new = BASE[name] + more, NEW[name] + more
            assert percent(row, "Base", "Base sd", "New", "HM") == [base, pytest.approx(2**0.5), new, hm(base, new)]
    assert percent(halves["average of 3", "CoOp"], "Base", "New", "HM") == [61.0, 31.0, hm(61.0, 31.0)]

    crossed = tables["cross_dataset_textile_vit_b_16"]
    columns = ["textile (source)", "textile300", "mytable", "average of 2"]
    assert percent(crossed["CoOp",], *columns) == [48.0, 38.0, 28.0, 33.0]
    assert percent(crossed["MMRL",], *columns) == [58.0, 48.0, 38.0, 43.0]
    other = tables["cross_dataset_mytable_vit_b_16"]
    assert percent(other["CoOp",], "mytable (source)", "textile") == [58.0, 18.0]
    letters = tables["domain_generalisation_drawn_letters_embedded"]
    assert percent(letters["MMRL",], "drawn_letters (source)", "drawn_letters_a") == [82.0, 72.0]
    letters = tables["cross_dataset_drawn_letters_embedded"]
    assert percent(letters["MMRL",], "drawn_letters (source)", "textile300") == [82.0, 22.0]

    few = tables["few_shot_vit_b_16"]
    assert percent(few["textile", "CoOp"], "1 shot", "2 shots") == [46.0, 49.0]
    assert percent(few["textile300", "MMRL"], "1 shot", "2 shots") == [46.0, 49.0]
    assert percent(few["mytable", "CoOp"], "1 shot", "2 shots", "2 shots n") == [26.0, 28.0, 1.0]

    # Four classes make a half of two; nothing else is marked.
    marked = {key: row["Base mark"] for key, row in halves.items() if row["Base mark"]}
    line = "† textile300, base: a half of exactly two classes"
    assert marked == {(name, m): line for name in ("average of 3", "textile300") for m in ("CoOp", "MMRL")}
    assert {plot.title for plot in report.plots if plot.on_page} == {
        "HM by data set, 16 shots, ViT-B/16: points below the best on each",
        *(f"Few-shot, {name}, ViT-B/16" for name in ("average of 3", *OWN)),
    }
    (lack,) = report.missing
    (run,) = runs_of_command(lack)
    assert (run.step, run.dataset, run.method, run.shots, run.seed) == MISSING


def runs_of_command(lack: MissingRuns) -> list[Run]:
    """What the grid makes of a command."""
    return expand.expand(cli.grids_of(grid.parse_args(shlex.split(lack.command())[3:])))


@pytest.mark.parametrize("name", OWN)
def test_the_small_tables_have_the_same_numbers(filled, name, capsys):
    base, new = BASE[name] + 1, NEW[name] + 1
    mark = " †" if name == "textile300" else ""
    numbers = [f"{value:.2f}{mark}" for value in (base, new, 2 * base * new / (base + new))]
    for program, more in {table: [], compare: ["--seeds", "1", "2"]}.items():
        assert program.main([name, "CoOp", "--output", str(filled), *more]) == 0
        out = capsys.readouterr().out
        (line,) = [line for line in out.splitlines() if line.startswith("| CoOp")]
        cells = [cell.strip().replace(" ± 1.41", "") for cell in line.split("|")]
        assert [cell for cell in cells if "." in cell] == numbers
        assert out.count("† textile300, new: a half of exactly two classes\n") == bool(mark)


def test_a_missing_cross_dataset_target_has_its_own_data(configs, tmp_path):
    for run in runs_of(GRIDS[1]):
        if (run.dataset, run.method, run.seed) != ("mytable", "CoOp", 2):
            put(run, tmp_path / "output")
    found = gather([tmp_path / "output"])
    report = command.build(found, command.Request(seeds=(1, 2)), command.defaults())
    (lack,) = report.missing
    assert (lack.source, lack.datasets, lack.options) == ("textile", ("mytable",), ())
    run = runs_of_command(lack)[-1]
    assert (run.step, run.dataset, run.method, run.seed) == ("xd_test", "mytable", "CoOp", 2)
    assert run.model.dataset == "textile"


NAMELESS = ("dataset_config", "source_config", "data")


def test_older_records_have_the_names_that_the_scripts_gave_their_folders(configs, tmp_path):
    for run in runs_of({**GRIDS[1], "methods": ["CoOp"], "seeds": [1]}):
        put(run, tmp_path / "output", NAMELESS)
    found = gather([tmp_path / "output"])
    assert not found.notes
    assert {(r.key.source, r.key.dataset): r.accuracy for r in found.results} == {
        pair: value for pair, value in CROSSED.items() if pair[0] == "textile"
    }


def test_older_records_that_say_it_nowhere_are_refused(configs, tmp_path):
    output = tmp_path / "output"
    first, *tests = runs_of({**GRIDS[1], "methods": ["CoOp"], "seeds": [1]})
    trained = put(first, output, NAMELESS)
    target = put(tests[0], output)
    moved = trained.rename(output / "mine")
    content = record.read(target)
    record.write(target, {**content, "model_dir": str(moved), "source_config": None})
    found = gather([output])
    assert not found.results and sorted(found.notes) == [
        f"{moved} is of own data (ImageFolder), and its record does not name their configuration: "
        "put the folder where the scripts would (docs/report.md), or run it again",
        f"{target} does not say on which data its model was trained: {moved} is not where the scripts would put it "
        "(docs/report.md)",
    ]
