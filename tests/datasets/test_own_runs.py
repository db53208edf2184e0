"""Runs on a user's own data: digits as PNG files in class folders, with the embedded CLIP."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import yaml

from commands import predict
from common.text import unescape
from datasets.digits import CLASSES
from datasets.shared import fewshot
from tests import calls
from tests.calls import CONFIGS

TEMPLATE = "a photo of the digit {}."


@pytest.fixture(scope="module")
def own(tmp_path_factory, digits_root):
    """Class folders with a file of names, so that base is zero to four, and a copied configuration."""
    root = tmp_path_factory.mktemp("own")
    shutil.copytree(digits_root / "digits/images", root / "data/digits of mine", copy_function=os.link)
    (root / "data/digits of mine/classnames.txt").write_text("".join(f"{name} {name}\n" for name in CLASSES))
    node = yaml.safe_load((CONFIGS / "datasets/imagefolder.yaml").read_text())["DATASET"]
    node |= {"FOLDER": "digits of mine", "TEMPLATE": TEMPLATE}
    (root / "mydigits.yaml").write_text(yaml.safe_dump({"DATASET": node}))
    return root


@pytest.fixture
def run(own, capsys):
    """``run(output, *words)``: train.py's record and log, with the copied configuration unless another is named."""

    def call(output, *words, config=own / "mydigits.yaml", method="MMRL"):
        line = calls.words(own / "data", own / output, *map(str, words), method=method, dataset=config)
        assert calls.call(line) == 0, capsys.readouterr().err
        return json.loads((own / output / "record.json").read_text()), (own / output / "log.txt").read_text()

    return call


def test_file_names_that_are_not_utf_8(run, own, monkeypatch, capsys):
    """They reach log, record, few-shot file, predictions and tables, and read back."""
    folder = own / "data/caf\udce9"  # as a folder of data sets may be called
    for name in CLASSES[:3]:
        (folder / name).mkdir(parents=True)
        for number, path in enumerate(sorted((own / "data/digits of mine" / name).iterdir())[:8]):
            shutil.copy(path, folder / name / (f"{number}.png" if number % 2 else f"\udcfc{number}.png"))
    node = {"NAME": "ImageFolder", "FOLDER": str(folder), "TEMPLATE": TEMPLATE}
    (own / "latin.yaml").write_text(yaml.safe_dump({"DATASET": node}))
    record, log = run("latin", "DATASET.NUM_SHOTS", "2", config=own / "latin.yaml", method="ZeroshotCLIP")
    assert record["status"] == "success" and f"3 classes in {own}/data/caf\\udce9, with" in log
    saved = fewshot.read(str(folder / "split_fewshot/shot_2-seed_1.jsonl"))
    assert all((folder / row["path"]).is_file() for row in saved.records)

    images = sorted(str(path) for path in folder.glob("*/*.png"))
    for form in ("csv", "json"):
        target = own / f"latin.{form}"
        words = ["--model-dir", own / "latin", folder, f"--{form}", target, "--classes", ",".join(CLASSES[:3])]
        assert predict.main([*map(str, words)]) == 0, capsys.readouterr().err
    rows = (own / "latin.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert sorted(unescape(row.split(",")[0]) for row in rows) == images
    content = json.loads((own / "latin.json").read_text(encoding="utf-8"))
    assert sorted(row["image"] for row in content["images"]) == images


def test_classes_with_the_same_prompt_are_named_in_log_and_record(run, own):
    """The tokenizer takes curly quotes for straight ones."""
    names = {"zero": "rock 'n' roll", "one": "rock \u2019n\u2019 roll", "two": "jazz"}
    paths = [path.relative_to(own / "data") for name in names for path in sorted(own.glob(f"data/*mine/{name}/*"))[:5]]
    lines = [f"{path},{names[path.parent.name]},test" for path in paths]
    (own / "data/music.csv").write_text("\n".join(["path,classname,split", *lines]), encoding="utf-8")
    node = {"NAME": "Table", "FOLDER": ".", "TABLE": "music.csv", "TEMPLATE": TEMPLATE}
    (own / "music.yaml").write_text(yaml.safe_dump({"DATASET": node}))
    record, log = run("music", config=own / "music.yaml", method="ZeroshotCLIP")
    said = "the prompts of these classes have the same tokens, so the text tower cannot tell them apart: "
    said += "\"rock 'n' roll\" (label 1) and 'rock \u2019n\u2019 roll' (label 2)"
    assert record["notes"]["same_prompts"] == said and log.count(f"note: {said}\n") == 1


def test_base_to_new_and_as_a_cross_dataset_target(run, own):
    short = ["OPTIM.MAX_EPOCH", "3", "DATASET.NUM_SHOTS", "16"]
    trained, log = run("base", *short, "DATASET.SUBSAMPLE_CLASSES", "base")
    saved = own / "data/digits of mine/split_fewshot/shot_16-seed_1.jsonl"
    assert f"ImageFolder: few-shot split (16 shots, seed 1): drawn and saved as {saved}\n" in log
    assert "10 classes in" in log and "with a fixed split of 50/20/30%" in log
    model = ["--eval-only", "--model-dir", str(own / "base")]
    new, log = run("new", *model, *short, "DATASET.SUBSAMPLE_CLASSES", "new")
    assert f"(16 shots, seed 1): as in {saved}\n" in log
    assert (trained["total"], new["total"]) == (270, 269)
    # The embedded CLIP without training: 77.78 and 72.12.
    assert trained["accuracy"] > 82 and new["accuracy"] > 65

    rows = [
        f"{name}/{path.name},{name},test" for name in CLASSES[5:] for path in sorted(own.glob(f"data/*/{name}/*"))[:40]
    ]
    (own / "data/target.csv").write_text("\n".join(["path,classname,split", *rows]))
    target = [
        "DATASET.FOLDER",
        "digits of mine",
        "DATASET.TABLE",
        own / "data/target.csv",
        "DATASET.TEMPLATE",
        TEMPLATE,
    ]
    other, log = run("target", *model, *target, "TASK", "CD", config=CONFIGS / "datasets/table.yaml")
    named = [other[key] for key in ("dataset", "dataset_config", "source", "source_config")]
    assert named == ["Table", "table", "ImageFolder", "mydigits"]
    assert other["total"] == len(rows) and "for testing only" in log
    assert other["accuracy"] > 60
