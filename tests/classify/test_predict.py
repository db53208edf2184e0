"""predict.py as a user calls it, and what both commands refuse."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import export
import predict
import train
from classify import images, load_classifier
from runs import record

from .conftest import NEW

ROOT = Path(train.__file__).parent


def test_a_table(call, mmrl_run, digits):
    status, out, err = call(predict, "--model-dir", mmrl_run, digits, "--top", 2, "--device", "cpu")
    assert (status, err) == (0, "")
    header, _, *lines = out.splitlines()
    assert header.split() == ["image", "1", "2"] and len(lines) == 10
    paths = [str(digits / f"{i}.png") for i in range(5)] + [str(digits / f"more/{i}.png") for i in range(5, 10)]
    assert [line.split()[0] for line in lines] == paths
    classifier = load_classifier(mmrl_run, device="cpu")
    for line, top in zip(lines, classifier.top(classifier.predict(paths), 2), strict=True):
        assert line.split()[1:] == [word for name, p in top for word in (name, f"{100 * p:.1f}")]


def test_csv_and_json_hold_the_same(call, mmrl_run, digits, tmp_path):
    common = ["--model-dir", mmrl_run, "--classes", ",".join(NEW), digits / "more/*.png", "--top", 9]
    status, out, err = call(predict, *common, "--csv", tmp_path / "out.csv")
    assert status == 0 and out == f"5 images, 5 classes: wrote {tmp_path}/out.csv\n" and err.startswith("note: ")
    assert call(predict, *common, "--json", tmp_path / "out.json", "--batch-size", 64)[0] == 0
    with open(tmp_path / "out.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["classes"] == NEW and content["model"]["seen"] is False
    classifier = load_classifier(mmrl_run, NEW)
    paths = [row["image"] for row in rows]
    wanted = classifier.predict(paths)
    for row, image, line in zip(rows, content["images"], wanted, strict=True):
        assert image["image"] == row["image"] and len(image["top"]) == 5
        for rank, top in enumerate(image["top"], 1):
            assert (row[f"class_{rank}"], float(row[f"probability_{rank}"])) == (top["class"], top["probability"])
            assert line[NEW.index(top["class"])].item() == top["probability"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.json"]  # nothing half-written


def test_good_images_are_written_and_bad_ones_named_at_the_end(call, mmrl_run, digits, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "cut.png").write_bytes((digits / "1.png").read_bytes()[:60])
    table = tmp_path / "out.csv"
    status, _, err = call(predict, "--model-dir", mmrl_run, tmp_path, digits / "1.png", "--csv", table)
    first, second = err.splitlines()
    assert status == 1 and first == f"error: cannot read image {tmp_path}/bad.png: not an image file"
    assert second.startswith(f"error: cannot read image {tmp_path}/cut.png: ")
    assert [line.split(",")[0] for line in table.read_text().splitlines()] == ["image", str(digits / "1.png")]
    status, out, err = call(predict, "--model-dir", mmrl_run, tmp_path / "bad.png", "--csv", tmp_path / "none.csv")
    assert (status, out, len(err.splitlines())) == (1, "", 1) and not (tmp_path / "none.csv").exists()


def test_classes_from_a_file_and_clip_without_a_run(call, digits, tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("\ufeffzero\n\nthe number one, written\n", encoding="utf-8")
    common = ["--backbone", "embedded", "--template", "a photo of the digit {}."]
    status, out, _ = call(predict, *common, "--classes-file", path, digits / "0.png", "--json", tmp_path / "x.json")
    assert status == 0 and json.loads((tmp_path / "x.json").read_text())["classes"] == [
        "zero",
        "the number one, written",
    ]
    status, out, _ = call(predict, *common, "--classes", "zero, one", digits / "0.png", digits / "0.png")
    assert status == 0 and len(out.splitlines()) == 3 and "zero" in out


def test_finding_images(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(digits)
    everything = [*(f"{i}.png" for i in range(5)), *(f"more/{i}.png" for i in range(5, 10))]
    assert images.find(["**/*.png"]) == everything and images.find([*everything, "*.png"]) == everything
    assert images.find(["mor*"]) == everything[5:] and images.find(["more/"]) == everything[5:]
    assert images.find(["notes.txt"]) == ["notes.txt"]  # a file that is named counts whatever its suffix
    odd = tmp_path / "[1].PNG"
    shutil.copy("1.png", odd)
    assert images.find([str(odd)]) == images.find([str(tmp_path)]) == [str(odd)]


def broken_copy(run: Path, folder: Path, case: str) -> Path:
    shutil.copytree(run, folder)
    (path,) = folder.glob("*/model-3.safetensors")
    if case == "running":
        content = record.read(folder)
        record.write(folder, {**content, "status": "running"})
    elif case == "evaluation":
        content = record.read(folder)
        record.write(folder, {**content, "model_dir": "output/base"})
    elif case == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif case == "config":
        (folder / "config.yaml").unlink()
    elif case == "edited":
        with (folder / "config.yaml").open("a") as file:
            file.write("# a word\n")
    return folder


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("running", "the run in {} is not finished (its record says running): run it to its end first, or say which "),
        ("evaluation", "the run in {} tested the model of output/base: give that folder"),
        ("cut", "cannot load checkpoint {}/MultiModalRepresentationLearner/model-3.safetensors: damaged, or not a "),
        ("edited", "{}/config.yaml is not what its run wrote: it is damaged, edited or gone; put the old file back, "),
        ("config", "{} is no run's folder: there is no config.yaml in it"),
    ],
)
def test_folders_that_hold_no_usable_run(case, line, call, mmrl_run, digits, tmp_path):
    folder = broken_copy(mmrl_run, tmp_path / "run", case)
    for module, rest in ((predict, [digits]), (export, ["--out", tmp_path / "out"])):
        status, out, err = call(module, "--model-dir", folder, *rest)
        assert (status, out, err.count("\n")) == (1, "", 1) and err.startswith(f"error: {line.format(folder)}")
    assert not (tmp_path / "out").exists()
    if case == "running":
        assert call(predict, "--model-dir", folder, digits, "--load-epoch", 3)[0] == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none.png"], "there is no image or folder none.png"),
        (["*.nothing"], "nothing matches *.nothing"),
        (["empty"], "there are no images in empty: files are known by .bmp, .gif, .jpeg, .jpg, .pgm, .png, .ppm, "),
        (["1.png", "--csv", "none/x.csv"], "cannot write none/x.csv: there is no folder none"),
        (["1.png", "--json", "empty"], "cannot write empty: it is a folder"),
        (["1.png", "--classes", "a,,b"], "class name 2 of 3 is empty"),
        (["1.png", "--classes", "a b,c,a b"], "class name 'a b' is given twice"),
        (["1.png", "--classes", "a b,c,A_b"], "class names 'a b' and 'A_b' are one to CLIP: give one of them"),
        (["1.png", "--classes", "dog " * 80], "Input a photo of the digit dog dog"),
        (["1.png", "--classes-file", "none.txt"], "there is no file of class names none.txt"),
        (["1.png", "--classes-file", "blank.txt"], "blank.txt: no class names were given"),
        (["1.png", "--classes-file", "1.png"], "1.png is not a text file: save it as text in UTF-8"),
        (["1.png", "--load-epoch", "9"], "no checkpoint at {run}/MultiModalRepresentationLearner/model-9.safetensors"),
        (["1.png", "--device", "abacus"], "device 'abacus' cannot be used here: Expected one of cpu, cuda"),
        (
            ["1.png", "--template", "a photo"],
            "DATASET.TEMPLATE 'a photo' must hold {{}} once, where the class name goes",
        ),
        (["1.png", "--model-dir", "none"], "there is no run folder none"),
    ],
)
def test_bad_input_of_predict(words, line, call, mmrl_run, digits, tmp_path, monkeypatch):
    shutil.copy(digits / "1.png", tmp_path / "1.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n \n")
    monkeypatch.chdir(tmp_path)
    model = [] if "--model-dir" in words else ["--model-dir", mmrl_run]
    status, out, err = call(predict, *model, *words)
    *notes, last = err.splitlines()
    assert (status, out) == (1, "") and all(note.startswith("note: ") for note in notes)
    assert last.startswith(f"error: {line.format(run=mmrl_run)}")


def test_a_zero_shot_run_whose_data_are_gone_asks_for_classes(call, zero_shot_run, digits, tmp_path):
    folder = shutil.copytree(zero_shot_run, tmp_path / "run")
    (folder / "record.json").unlink()  # which would notice the edit
    config = folder / "config.yaml"
    text = config.read_text()
    root = next(line for line in text.splitlines() if line.strip().startswith("ROOT:"))
    config.write_text(text.replace(root, f"  ROOT: {tmp_path}/gone"))
    status, _, err = call(predict, "--model-dir", folder, digits)
    assert status == 1 and err.startswith(
        "error: this run's class names come from its data set, which cannot be read ("
    )
    assert err.endswith("): give the classes\n")
    assert call(predict, "--model-dir", folder, digits, "--classes", "zero,one")[0] == 0
    status, _, err = call(predict, "--model-dir", folder, digits, "--load-epoch", 1)
    assert err == f"error: the run in {folder} has no epoch 1: ZeroshotCLIP learns nothing\n"


@pytest.mark.parametrize("script", ["predict", "export"])
def test_help_is_quick(script):
    """-h must not wait for torch."""
    lines = f"import sys, {script}\ntry: {script}.parse_args(['-h'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False" and "--classes-file" in done.stdout


def test_a_reader_that_goes_away_is_no_error():
    lines = "from classify.command import guarded\nguarded(lambda: print('a line\\n' * 100_000) or 0)"
    with subprocess.Popen(
        [sys.executable, "-c", lines], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "a line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
