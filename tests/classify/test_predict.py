"""`mmrl.py predict` as a user calls it, and what both commands refuse."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import train
from classify import images, load_classifier, zero_shot
from classify.classifier import Classifier
from commands import export, inspect, predict
from runs import record
from tests.classify.conftest import NEW
from tests.e2e import mishaps

ROOT = Path(train.__file__).parent
CASES = ROOT / "tests/data/cases"
HALF = (
    "note: the run knows 5 of the 9 or 10 classes of Digits (base), and takes every image for one of these; name all "
    "that there may be with --classes or --classes-file\n"
)


def test_a_table(call, mmrl_run, digits):
    status, out, err = call(predict, "--model-dir", mmrl_run, digits, "--top", 2, "--device", "cpu")
    assert (status, err) == (0, f"{HALF}note: left out 2: 1 .txt, 1 hidden\n")
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
    first, second, half, last = err.splitlines()
    assert f"{half}\n" == HALF and last == "note: left out 2: 2 unreadable"
    assert status == 1 and first == f"error: cannot read image {tmp_path}/bad.png: not an image file"
    assert second.startswith(f"error: cannot read image {tmp_path}/cut.png: ")
    assert [line.split(",")[0] for line in table.read_text().splitlines()] == ["image", str(digits / "1.png")]
    status, out, err = call(predict, "--model-dir", mmrl_run, tmp_path / "bad.png", "--csv", tmp_path / "none.csv")
    assert (status, out, len(err.splitlines())) == (1, "", 2) and not (tmp_path / "none.csv").exists()


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

    def paths(*arguments):
        return images.find(arguments).paths

    assert paths("**/*.png") == everything and paths(*everything, "*.png") == everything
    assert paths("mor*") == everything[5:] and paths("more/") == everything[5:]
    assert paths("notes.txt") == ["notes.txt"]  # a file that is named counts whatever its suffix
    odd = tmp_path / "[1].PNG"
    shutil.copy("1.png", odd)
    assert paths(str(odd)) == paths(str(tmp_path)) == [str(odd)]


def test_a_folder_stands_for_all_that_pillow_reads_and_the_rest_is_counted(digits, tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for place in (folder / "below", folder / ".cache", elsewhere):
        place.mkdir(parents=True)
    with Image.open(digits / "1.png") as image:
        for name in ("a.jfif", "b.avif", "c.jpe", "d.TGA", "e.webp"):
            image.convert("RGB").save(folder / name)
        image.save(folder / "f", "PNG")
        image.save(elsewhere / "g.png")
        image.save(folder / ".cache/x.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "linked.png").symlink_to(digits / "1.png")
    (folder / "gone.png").symlink_to(tmp_path / "none.png")
    (folder / "below/again").symlink_to(folder)
    (elsewhere / "itself").symlink_to(elsewhere)
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    os.mkfifo(folder / "pipe.png")
    for name in ("notes.txt", "more.txt", ".DS_Store", "README", "page.pdf"):
        (folder / name).write_text("words")
    found = images.find([str(folder)])
    names = ["a.jfif", "b.avif", "c.jpe", "d.TGA", "e.webp", "f", "linked.png", "linked/g.png"]
    assert found.paths == [str(folder / name) for name in names]
    assert found.summary() == (
        "3 broken link, 2 .txt, 2 hidden, 2 link to a folder seen before, 1 .pdf, 1 special file, 1 without a suffix"
    )
    assert images.find([str(folder), str(folder)]).left_out == found.left_out
    below = images.find([f"{folder}/**/*.png"])
    assert below.paths == [str(folder / "linked.png"), str(folder / "linked/g.png")]
    assert set(below.left_out.values()) >= {"broken link", "special file", "link to a folder seen before"}
    assert images.find([f"{folder}/*"]).summary().startswith("3 broken link, 2 folder that a pattern matches")
    os.unlink(folder / "linked.png")
    with pytest.raises(ValueError, match=r"^there are no images in .*/text: it has 1 .txt$"):
        (tmp_path / "text").mkdir()
        (tmp_path / "text/x.txt").write_text("words")
        images.find([str(tmp_path / "text")])


def test_the_limit_of_pixels(call, mmrl_run, digits):
    words = ["--model-dir", mmrl_run, digits / "1.png", "--device", "cpu", "--max-megapixels"]
    status, out, err = call(predict, *words, "1e-5")
    assert (status, out) == (1, "") and err.startswith(f"error: cannot read image {digits}/1.png: it has 0.0 megapix")
    assert call(predict, *words, "1")[0] == 0
    for bad in ("0", "nan", "many"):
        with pytest.raises(SystemExit):
            call(predict, *words, bad)


def test_images_are_read_as_in_the_run(call, mmrl_run, tmp_path):
    turned, upright = CASES / "orientation_6.jpg", tmp_path / "twin.png"
    with Image.open(turned) as image:
        image.transpose(Image.Transpose.ROTATE_270).save(upright)
    folder = shutil.copytree(mmrl_run, tmp_path / "run")
    (folder / "record.json").unlink()  # which would notice the edit
    config = folder / "config.yaml"
    text = config.read_text()
    assert "  READ: stored\n" in text
    for said, equal in (("  READ: upright\n", True), ("  READ: stored\n", False), ("", False)):  # "": an older run
        config.write_text(text.replace("  READ: stored\n", said))
        classifier = load_classifier(folder, device="cpu")
        assert classifier.about["preprocessing"]["read"] == ("upright" if equal else "stored")
        with Image.open(turned) as image:
            one, two, three = (classifier.predict(item) for item in (turned, image, upright))
        assert one.equal(two) and one.equal(three) is equal
    classifier = zero_shot("embedded", ["zero", "one"], device="cpu")
    assert classifier.predict(turned).equal(classifier.predict(upright))


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
    elif case == "gone":
        path.unlink()
    elif case == "record":
        path = folder / "record.json"
        path.write_bytes(path.read_bytes().replace(b"success", b"succesS"))
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
        (
            "gone",
            "{}/MultiModalRepresentationLearner/checkpoint does not name a checkpoint beside it: give --load-epoch",
        ),
        ("record", "{}/record.json is damaged"),
        ("edited", "{}/config.yaml is not what its run wrote: it is damaged, edited or gone; put the old file back, "),
        ("config", "{} is no run's folder: there is no config.yaml in it"),
    ],
)
def test_folders_that_hold_no_usable_run(case, line, call, mmrl_run, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("classify.inspect.plots.save", lambda figure, folder, name: [])
    folder = broken_copy(mmrl_run, tmp_path / "run", case)
    out = ["--out", tmp_path / "out"]
    commands = [
        [predict, "--model-dir", folder, digits],
        [export, "--model-dir", folder, *out],
        [inspect, folder, *out],
    ]
    for words in commands[: 2 if case == "evaluation" else 3]:  # of a test, inspect shows the model
        status, printed, err = call(*words)
        *before, last = err.splitlines()
        assert (status, printed) == (1, "") and last.startswith(f"error: {line.format(folder)}")
        assert not [one for one in before if words[0] is not inspect or one.startswith("error")]
    assert not (tmp_path / "out").exists()
    if case == "running":
        assert call(*commands[0], "--load-epoch", 3)[0] == 0
        assert call(*commands[2], "--load-epoch", 3, "--split", "val")[0] == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none.png"], "there is no image or folder none.png"),
        (["*.nothing"], "nothing matches *.nothing"),
        (["empty"], "there are no images in empty: it has nothing in it"),
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


def test_probabilities_that_are_not_finite_stop_it(call, mmrl_run, digits, tmp_path, monkeypatch):
    """An image that cannot be read is another matter: it is named, and the others are written."""
    score = Classifier.probabilities

    def spoilt(self, batch):
        found = score(self, batch)
        found[2, 1] = float("nan")
        return found

    (tmp_path / "bad.png").write_bytes(b"no image")
    words = ["--model-dir", mmrl_run, tmp_path / "bad.png", digits, "--json", tmp_path / "out.json"]
    assert call(predict, *words)[0] == 1 and len(json.loads((tmp_path / "out.json").read_text())["images"]) == 10
    (tmp_path / "out.json").unlink()
    monkeypatch.setattr(Classifier, "probabilities", spoilt)
    status, out, err = call(predict, *words)
    assert (status, out) == (1, "") and not (tmp_path / "out.json").exists()
    line = f"MMRL gives {digits}/2.png probabilities that are NaN or infinite: nothing is predicted; its training "
    assert err == f"error: {line}diverged, or fp32 is too coarse: use the precision fp32\n"


def test_clip_without_a_run_from_files_that_say_less_or_more(call, digits, tmp_path):
    """A bare file's computation is a guess, which is said; what a damaged one gives is no number."""
    embedded = ROOT / "clip/embedded.safetensors"
    path = Path(shutil.copy(embedded, tmp_path / "w.safetensors"))
    words = [digits, "--classes", "zero,one", "--backbone"]
    status, out, err = call(predict, *words, path)
    assert (status, out) == call(predict, *words, "embedded")[:2] and status == 0
    assert err == (
        f"note: {path} does not say how it computes: taken as QuickGELU, heads of 64; for another way give "
        "open_clip:ARCH:FILE, or Hugging Face's folder with its config.json\n"
        f"note: the images that {path} was trained on are not known: normalised and resized as OpenAI's\n"
        "note: left out 2: 1 .txt, 1 hidden\n"
    )
    mishaps.embedded_with_a_nan(path)
    status, out, err = call(predict, *words, path)
    assert (status, out) == (1, "") and err.startswith(f"error: {path}: ln_final.weight holds NaN or infinity: ")
    status, out, err = call(predict, *words, "hf:clip")
    assert (status, out) == (1, "") and err.startswith("error: 'hf:clip' names no model of the hub: ")
