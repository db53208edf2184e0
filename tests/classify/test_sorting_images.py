"""What predict does with images besides a table: undecided ones, copies in folders, a contact sheet."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html import unescape

import numpy as np
import pytest
from PIL import Image

from classify import contact_sheet, load_classifier
from classify.calibration import decide
from classify.sort_files import copy_into
from commands import export, predict
from dassl.utils.images import AS_STORED

LEAST = 0.5


@pytest.fixture(scope="module")
def calibrated(mmrl_run, tmp_path_factory):
    """The run, as if `fit` had found that it is too sure."""
    folder = shutil.copytree(mmrl_run, tmp_path_factory.mktemp("calibrated") / "run")
    (folder / "calibration.json").write_text('{"temperature": 1.5, "images": 100, "curve": [], "measured_on": "..."}')
    return folder


def test_images_below_a_calibrated_probability_are_undecided(call, calibrated, digits, tmp_path):
    words = [predict, "--model-dir", calibrated, digits, "--device", "cpu", "--reject", LEAST]
    sorting = ["--copy-to", tmp_path / "sorted", "--html", tmp_path / "page.html"]
    assert call(*words, "--csv", tmp_path / "x.csv")[0] == 0
    status, table, err = call(*words, "--top", 1, *sorting)
    again = call(*words, "--json", tmp_path / "x.json", *sorting)
    with open(tmp_path / "x.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-4:] == ["class_5", "probability_5", "decision", "confidence"]
    plain = load_classifier(calibrated, device="cpu").predict([row["image"] for row in rows])
    tempered = plain.double().numpy() ** (1 / 1.5)
    confidence = (tempered / tempered.sum(axis=1, keepdims=True)).max(axis=1)
    sure = confidence >= LEAST
    assert 0 < sure.sum() < len(rows) == 10 and f"note: {10 - sure.sum()} of 10 undecided: below 50%\n" in err
    assert np.allclose([float(row["confidence"]) for row in rows], confidence, rtol=0, atol=1e-6)
    decisions = [row["class_1"] if yes else "undecided" for row, yes in zip(rows, sure, strict=True)]
    assert [row["decision"] for row in rows] == decisions
    assert [one["decision"] for one in json.loads((tmp_path / "x.json").read_text())["images"]] == decisions
    header, _, *lines = table.splitlines()
    assert status == 0 and header.split() == ["image", "decision", "1"]
    shown = [[name, f"{100 * p:.1f}"] for name, p in zip(decisions, confidence, strict=True)]
    assert [line.split()[1:3] for line in lines] == shown
    copies = {f"{path.parent.name}/{path.name}" for path in (tmp_path / "sorted").rglob("*.png")}
    assert copies == {f"{name}/{row['image'][-5:]}" for name, row in zip(decisions, rows, strict=True)}
    assert "note: copied 10 images into the folders of " in err
    assert again[0] == 0 and "note: copied 0 images into the folders of " in again[2]
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 10 and f"<h2>undecided: {10 - sure.sum()}</h2>" in page


def test_reject_needs_a_calibration_that_fits(call, mmrl_run, calibrated, digits, tmp_path):
    words = ["--model-dir", mmrl_run, digits, "--reject", LEAST]
    status, out, err = call(predict, *words)
    assert (status, out, err.count("\n")) == (1, "", 1) and "--reject needs a run that `python mmrl.py fit" in err
    for wrong in (["--classes", "a,b"], ["--template", "a {}."], ["--reject", "80"], ["--reject", "0"]):
        with pytest.raises(SystemExit):
            call(predict, *words, *wrong)
    folder = shutil.copytree(calibrated, tmp_path / "run")
    for content, line in (("{}", "is damaged, or no"), ('{"temperature": 0}', "the temperature is 0, which must be")):
        (folder / "calibration.json").write_text(content)
        for command in ([predict, digits, "--reject", LEAST], [export, "--out", tmp_path / "out"]):
            status, _, err = call(*command, "--model-dir", folder)
            assert status == 1 and err.startswith(f"error: {folder}/calibration.json") and line in err
    with pytest.raises(ValueError, match="^a class is called undecided"):
        decide(None, ["sure", "undecided"], 1.0, LEAST)


def test_an_export_says_the_temperature(call, calibrated, tmp_path, monkeypatch):
    monkeypatch.setattr("classify.program.trace", lambda *_: None)
    monkeypatch.setattr("classify.program.write_torch", lambda exported, path: path.touch())
    monkeypatch.setattr("classify.program.compare", lambda *_: 0.0)
    words = ["--model-dir", calibrated, "--format", "torch", "--out"]
    assert (
        call(export, *words, tmp_path / "own")[0] == call(export, *words, tmp_path / "new", "--classes", "a,b")[0] == 0
    )
    own, new = (json.loads((tmp_path / name / "classifier.json").read_text()) for name in ("own", "new"))
    assert own["calibration"] == {"temperature": 1.5} and "calibration" not in new


def test_copies_replace_no_other_file(call, mmrl_run, digits, tmp_path):
    first, second = tmp_path / "a/x.png", tmp_path / "b/x.png"
    for number, path in enumerate((first, second)):
        path.parent.mkdir()
        shutil.copy(digits / f"{number}.png", path)
    images = [(str(first), "and/or"), (str(second), "and/or"), (str(first), "..")]
    out = tmp_path / "out"
    assert copy_into(str(out), images) == 3 and copy_into(str(out), images[::-1]) == 0
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    one, two = first.read_bytes(), second.read_bytes()
    assert found == {"and%2For/x.png": one, "and%2For/x_2.png": two, "%2E./x.png": one}
    status, _, err = call(predict, "--model-dir", mmrl_run, digits, "--copy-to", first)
    assert (status, err) == (1, f"error: cannot copy into {first}: it is a file\n") and first.read_bytes() == one


def test_a_contact_sheet_is_escaped_and_bounded(tmp_path, monkeypatch):
    rows = []
    for number in range(5):
        path = tmp_path / f"<b>&{number}.png"
        Image.new("L", (8, 8)).save(path)
        rows.append((str(path), '<i>"one"' if number else "two", number / 10))
    monkeypatch.setattr(contact_sheet, "MOST", 4)
    contact_sheet.write(str(tmp_path / "x.html"), rows, AS_STORED, "<u>model</u>")
    page = (tmp_path / "x.html").read_text()
    assert not re.search("<[biu]>", page) and not re.search(r'(src|href)="(?!data:)', page)
    titles = ["&lt;i&gt;&quot;one&quot;: 4, the 2 least certain are shown", "two: 1"]
    assert re.findall("<h2>(.*)</h2>", page) == titles
    captions = [unescape(one) for one in re.findall("<figcaption>(.*)</figcaption>", page)]
    assert captions == ["10.0% <b>&1.png", "20.0% <b>&2.png", "0.0% <b>&0.png"]
