"""The grid's command line, without any run being carried out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import train
from commands import grid
from runs import record
from runs.grid import cli
from runs.grid.cluster import minutes
from runs.grid.expand import Grid, expand
from runs.grid.pool import Folders, Outcome

ROOT = Path(train.__file__).parent


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    for name in ("DATA", "OUTPUT", "PYTHON", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        try:
            status = grid.main(list(words))
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_dry_run_prints_the_commands(call, tmp_path):
    status, out, err = call("base2new", "--datasets", "digits", "--seeds", "3", "--dry-run", "--", "OPTIM.LR", "0.1")
    configs = f"--dataset-config-file {ROOT}/configs/datasets/digits.yaml"
    configs += f" --config-file {ROOT}/configs/trainers/MMRL/embedded.yaml"
    base, new = (f"output/base2new/{half}/digits/shots_16/MMRL/embedded/seed3" for half in ("train_base", "test_new"))
    start = f"python {ROOT}/train.py --root data/ --seed 3 --trainer MMRL {configs}"
    assert out == (
        f"{start} --output-dir {base} TASK B2N DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base OPTIM.LR 0.1\n"
        f"{start} --output-dir {new} --eval-only --model-dir {base} "
        "TASK B2N DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES new OPTIM.LR 0.1\n"
    )
    assert (status, err) == (0, "") and not list(tmp_path.iterdir())


def test_options_as_one_word_and_given_twice(call):
    words = ("fewshot", "--datasets", "digits", "--seeds", "3", "--dry-run", "--")
    assert call(*words, "OPTIM.LR=0.1", "OPTIM.LR", "0.1")[1].endswith("DATASET.SUBSAMPLE_CLASSES all OPTIM.LR 0.1\n")
    line = "OPTIM.LR is given twice, by OPTIM.LR 0.1 and by OPTIM.LR 0.2: leave one of them out"
    assert call(*words, "OPTIM.LR=0.1", "OPTIM.LR", "0.2") == (1, "", f"error: {line}\n")
    line = "options come as KEY VALUE pairs, and OPTIM.LR has no value"
    assert call(*words, "OPTIM.LR") == (2, "", f"error: {line} (-h explains)\n")
    line = "SEED cannot be given after --: it is for the grid itself to set (--seeds)"
    assert call(*words, "SEED=7") == (1, "", f"error: {line}\n")


def test_list_and_missing(call, monkeypatch):
    words = ("fewshot", "--datasets", "digits", "--shots", "1", "2", "--seeds", "1")
    states = {"1": ("done", ""), "2": ("failed", "out of memory")}
    monkeypatch.setattr(cli, "look", lambda folder, *_: states[folder.parts[3].removeprefix("shots_")])
    names = [f"few_shot/digits/shots_{shots}/MMRL/embedded/seed1" for shots in (1, 2)]
    failed = f"failed   {names[1]}  (out of memory)\n"
    assert call(*words, "--list") == (0, f"done     {names[0]}\n{failed}2 runs in output: 1 done, 1 failed\n", "")
    assert call(*words, "--missing") == (1, f"{failed}1 runs in output: 1 failed\n", "")
    states["2"] = ("done", "")
    assert call(*words, "--missing") == (0, "0 runs in output: none\n", "")
    status, out, _ = call(*words)
    assert status == 0 and out.splitlines()[-1].startswith("2 runs: 2 done before, nothing to do, in ")


def test_a_line_has_the_accuracy_of_its_run_and_the_time_left(tmp_path, capsys):
    runs = expand([Grid("fewshot", ["digits"], seeds=[1, 2, 3])])
    folders = Folders("data", str(tmp_path))
    done = record.Run(folders.folder(runs[0]), {}, {})
    done.start("", {})
    done.succeed({"accuracy": 85.234})
    (folders.folder(runs[1])).mkdir(parents=True)
    (folders.folder(runs[1]) / record.RECORD).write_text("[")
    report = cli.Report(3, 0, folders)
    for run, status, line in zip(runs, (0, 0, 1), ("", "", "error: no"), strict=True):
        report(Outcome(run, status, line, 12.0))
    first, second, third = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"\[1/3\] done        12 s  {runs[0].name}  accuracy 85\.23  \(about 00:0\d left\)", first)
    assert "is damaged" in second and third == f"[3/3] failed      12 s  {runs[2].name}  (error: no)"


def test_parts_are_those_of_a_slurm_array(call, monkeypatch):
    words = ("fewshot", "--datasets", "digits", "dtd", "--seeds", "1", "2", "--list")
    whole = set(call(*words)[1].splitlines()[:-1])
    seen: list[str] = []
    for number in (10, 12, 14):
        for name, value in (("ID", number), ("MIN", 10), ("MAX", 14), ("STEP", 2), ("COUNT", 3)):
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
        first, *lines = call(*words)[1].splitlines()[:-1]
        assert first == f"Part {number // 2 - 4} of 3: {len(lines)} runs"
        seen += lines
    assert sorted(seen) == sorted(whole) and len(whole) == 4
    assert call(*words, "--shard", "2/4")[1].startswith("Part 2 of 4: 1 runs\n")


@pytest.mark.parametrize(
    ("array", "line"),
    [
        ({"ID": 7, "MIN": 1, "STEP": 1, "COUNT": 3}, "task 7 is not in an array without gaps: give --shard I/3"),
        ({"ID": 1}, "this is a Slurm array, but SLURM_ARRAY_TASK_COUNT is not set: give --shard I/N"),
    ],
)
def test_an_array_without_a_place_for_this_task(call, monkeypatch, array, line):
    for name, value in array.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert call("fewshot", "--datasets", "dtd", "--list") == (1, "", f"error: {line}\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fewshots", "--datasets", "dtd"], "unknown protocol fewshots; did you mean fewshot?"),
        (["fewshot"], "datasets is missing"),
        (["fewshot", "--datasets"], "datasets: the list is empty, and nothing would run"),
        (["fewshot", "--datasets", "dtd", "--seeds", "1", "2", "1"], "seeds: given twice: 1"),
        (["fewshot", "--datasets", "dtd", "--seeds", "x"], "seeds must be whole numbers, not 'x'"),
        (["fewshot", "--datasets", "dtd", "--shard", "2"], "--shard takes I/N, such as 1/8, not 2"),
        (["fewshot", "--datasets", "dtd", "--set", "A"], "--set takes KEY=VALUE,VALUE,..., not A"),
        (["fewshot", "--datasets", "dtd", "--set", "A=1", "--set", "A=2"], "--set A is given twice"),
        (["fewshot", "--datasets", "dtd", "--methods", "mmrl"], "unknown method mmrl; did you mean MMRL"),
    ],
)
def test_bad_input_is_one_line(call, words, line):
    status, out, err = call(*words)
    assert (status, out) == (1, "") and err.startswith(f"error: {line}") and err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["xd", "--suite", "x"], ["xd", "--jobs", "0"], ["xd", "--list", "--dry-run"], ["xd", "--", "A"]]
)
def test_wrong_arguments_are_one_line_and_status_2(call, words):
    status, out, err = call(*words)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(("text", "wanted"), [("90", 90), ("4:00:00", 240), ("1:30", 2), ("0:0:1", 1), ("0", 1)])
def test_times(text, wanted):
    assert minutes(text) == wanted


def test_a_wrong_time():
    with pytest.raises(ValueError, match="--time takes H:MM:SS or minutes, not soon"):
        minutes("soon")


def test_listing_is_quick_and_needs_no_torch():
    code = "import sys, runs.grid.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
