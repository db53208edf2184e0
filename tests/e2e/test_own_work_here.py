"""docs/coming-from-coop.md: its commands on your work, with a trainer of the tests, and on the random stream."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import datasets
import parse_test_res
import train
import trainers
from runs import record
from trainers.shared import foreign

ROOT = Path(train.__file__).parent
PAGE = (ROOT / "docs/coming-from-coop.md").read_text(encoding="utf-8")
PROGRAMS = {"train.py": train, "parse_test_res.py": parse_test_res}


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def blocks(language: str, heading: str = "Your work here") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", section(heading), re.DOTALL)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A root with the page's images and configuration; the page's data set and a trainer are in the project."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/my_shapes.py").write_text(*blocks("python"))
    (row,) = re.findall(r'`("MyShapes": "my_shapes"),`', section("Your work here"))
    name, module = (part.strip('"') for part in row.split(": "))
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "datasets")])
    monkeypatch.setattr(datasets, "NAMES", (*datasets.NAMES, name))
    monkeypatch.setitem(datasets._MODULES, name, module)

    (tmp_path / "trainers").mkdir()
    shutil.copy(ROOT / "tests/trainers/foreign/mine.py", tmp_path / "trainers")
    monkeypatch.setattr(foreign, "FOLDER", tmp_path / "trainers")
    monkeypatch.setattr(trainers, "__path__", [*trainers.__path__, str(tmp_path / "trainers")])

    for split, count in (("train", 3), ("test", 2)):
        for axis, colour in enumerate(("red", "green", "blue")):
            folder = tmp_path / "data/my_shapes" / split / f"{colour}_shape"
            folder.mkdir(parents=True)
            for number in range(count):
                pixel = tuple(200 if axis == channel else 20 * number for channel in range(3))
                Image.new("RGB", (40, 40), pixel).save(folder / f"{number}.png")
    (tmp_path / "data/my_shapes.yaml").write_text("DATASET:\n  NAME: MyShapes\n")
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """``run(commands, data)``: what each command of the page prints, with `data` as $DATA; none may fail."""

    def call(commands, data):
        monkeypatch.chdir(ROOT)
        outputs = []
        for line in "".join(commands).replace("\\\n", "").splitlines():
            line = line.replace("$DATA", str(data)).replace("$OUTPUT", str(tmp_path / "output"))
            python, program, *words = shlex.split(line)
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", [program, *words])
                patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
                patch.setattr(sys, "stderr", sys.stderr)
                assert (python, PROGRAMS[program].main()) == ("python", 0), capsys.readouterr().err
            outputs.append(capsys.readouterr().out)
        return outputs

    return call


def test_a_seed_gives_the_public_codes_run_as_the_page_says(run, data_root, tmp_path):
    (said,) = run(blocks("bash", "The same seed, the same run"), data_root)
    assert record.read(tmp_path / "output/seed1")["config"]["OFFICIAL_STREAM"] is True and "* accuracy: " in said


def test_the_pages_data_set_and_commands_work(data, run):
    trained, tested, *parsed = run(blocks("bash"), data)
    (accuracy,) = re.findall(r"^\* accuracy: (.*)%$", trained, re.MULTILINE)
    assert re.findall(r"^\* accuracy: (.*)%$", tested, re.MULTILINE) == [accuracy]
    assert re.search(r"# train_x +6\n# val +6\n# test +6\n", trained)
    assert len(parsed) == 2 and all(f"accuracy: {accuracy}" in out for out in parsed)
