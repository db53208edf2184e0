"""Which results may stand side by side: the rule, and that the tables and the report keep to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import compare, table
from reporting import likeness
from runs import record


def counted(names: str, total: int = 20) -> dict:
    """What records of any age say of the classes."""
    return {"per_class": [{"class": name, "total": total, "correct": 1} for name in names]}


def data(names: str, whole: str = "one list", trained: str = "", test: str = "") -> dict:
    """What newer records say of the data."""
    more = {"trained_on": list(trained)} if trained else {}
    found = {"classnames": list(names), "all_classes": whole, "test": {"digest": test, "images": 20}}
    return {**counted(names), "data": {**found, **more}}


@pytest.mark.parametrize(
    ("base", "new", "why"),
    [
        ({}, {}, ""),
        (counted("abc"), {}, ""),
        (counted("abc"), counted("def"), ""),
        (counted("abc"), counted("de"), ""),
        (data("abc"), data("def"), ""),
        (data("abc"), counted("def"), ""),
        (data("abc"), data("def", trained="abc"), ""),
        (counted("abc"), counted("cd"), "'c' is of both halves"),
        (data("abcde"), data("aebdcg"), "classes are of both halves: 'a', 'e', 'b' and 2 more"),
        (data("abc"), data("def", trained="abd"), "'d' is new, and its model was trained on it"),
        (
            counted("abc"),
            counted("defg"),
            "base (3 classes: 'a', 'b', 'c') and new (4 classes: 'd', 'e', 'f' and 1 more) "
            "are halves of different class lists",
        ),
        (
            data("abc"),
            data("def", "another list", trained="abx"),
            "base (3 classes: 'a', 'b', 'c') and new (3 classes: 'd', 'e', 'f') are halves of different class lists; "
            "only one of base and the classes trained on has 'c', 'x'",
        ),
    ],
)
def test_halves_of_one_class_list(base, new, why):
    assert likeness.unlike_halves(base, new) == why


def place(loader: str, folder: str) -> dict:
    return {"config": {"DATASET.NAME": loader, "DATASET.FOLDER": folder}}


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({}, {}, ""),
        (data("ab", test="x"), data("ab", test="x"), ""),
        (data("ab", test="x") | place("Table", "a"), data("ab", test="x") | place("Table", "b"), ""),  # moved
        (data("ab", test="x"), data("ab", test="y"), "other images, labels or class names (20 and 20 images)"),
        (counted("ab"), data("ab", test="x"), ""),
        (counted("ab", 20), counted("ab", 21), "20 images of 'a' in one alone"),
        (counted("ab"), counted("abc"), "2 and 3 classes"),
        (place("ImageFolder", "a"), place("ImageFolder", "b"), "DATASET.FOLDER: a and b"),
        (place("ImageFolder", "a"), place("Table", "a"), "DATASET.NAME: ImageFolder and Table"),
        (place("Digits", "a"), place("Digits", ""), ""),
        (
            data("ab", test="x") | place("Table", "a"),
            counted("ab") | place("Table", "a"),
            "one record is older and does not say which images",
        ),
        (data("ab", test="x") | place("Digits", ""), counted("ab") | place("Digits", ""), ""),
    ],
)
def test_tests_of_the_same_images(one, other, why):
    assert likeness.unlike_tests(one, other) == why


def put(output: Path, half: str, seed: int, method: str = "MMRL", name: str = "textile", **facts) -> Path:
    folder = output / f"base2new/{half}/{name}/shots_16/{method}/embedded/seed{seed}"
    run = record.Run(folder, {"SEED": seed}, {"dataset_config": facts.pop("dataset_config", name)})
    run.start("", {})
    run.succeed({"accuracy": 80.0 if half == "train_base" else 60.0, **facts})
    return folder


def show(program, capsys, output: Path, *methods: str) -> tuple[int, str, str]:
    words = ["--seeds", "1", "2"] if program is compare else []
    status = program.main(["textile", *methods, "--output", str(output), *words])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("program", [table, compare])
def test_a_pair_of_other_class_lists_is_named_and_not_averaged(program, tmp_path, capsys):
    for seed, new in {1: "def", 2: "defg"}.items():
        put(tmp_path, "train_base", seed, **counted("abc"))
        put(tmp_path, "test_new", seed, **counted(new), **({"accuracy": 10.0} if seed == 2 else {}))
    _, out, err = show(program, capsys, tmp_path, "MMRL")
    assert "80.00 | 60.00 | 68.57" in " ".join(out.split())
    assert "MMRL embedded seed2" in err and "are halves of different class lists\n" in err


@pytest.mark.parametrize("program", [table, compare])
def test_seeds_and_methods_of_other_images_are_not_averaged_or_compared(program, tmp_path, capsys):
    for method, seed, test in [("MMRL", 1, "x"), ("MMRL", 2, "y"), ("CoOp", 1, "y"), ("CoOp", 2, "y")]:
        put(tmp_path, "train_base", seed, method, **data("abc", test=test))
        put(tmp_path, "test_new", seed, method, **data("def", test="z"))
    _, out, err = show(program, capsys, tmp_path, "MMRL", "CoOp")
    why = "base: other images, labels or class names (20 and 20 images)"
    assert f"not tested on the images of seed1: {why}\n" in err and "+0.00" not in out
    assert "were tested on different images" in err and why in err.splitlines()[-1]


def test_a_run_of_other_data_does_not_count(tmp_path, capsys):
    put(tmp_path, "train_base", 1)
    folder = put(tmp_path, "test_new", 1, dataset_config="linen")
    status, _, err = show(table, capsys, tmp_path, "MMRL")
    assert status == 1 and f"note: {folder} is of linen, not of textile\n" in err


@pytest.mark.parametrize("program", [table, compare])
def test_numbers_that_mean_little_are_marked(program, tmp_path, capsys):
    for seed in (1, 2):
        put(tmp_path, "train_base", seed, notes={"small_test": "20 test images", "same_prompts": "not this"})
        put(tmp_path, "test_new", seed)
    status, out, _ = show(program, capsys, tmp_path, "MMRL")
    numbers = " ".join(out.replace(" ± 0.00", "").split())
    assert status == 0 and "80.00 † | 60.00 | 68.57 †" in numbers
    assert out.endswith("\n† textile, base: 20 test images\n")
