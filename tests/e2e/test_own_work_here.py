"""docs/coming-from-coop.md, "Your work here": its data set and commands, with the trainer that tests have for that."""

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
from trainers import foreign

ROOT = Path(train.__file__).parent
PAGE = (ROOT / "docs/coming-from-coop.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Your work here\n")[1].split("\n## ")[0]
PROGRAMS = {"train.py": train, "parse_test_res.py": parse_test_res}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A root with the page's images and configuration; the page's data set and a trainer are in the project."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/my_shapes.py").write_text(*blocks("python"))
    (row,) = re.findall(r'`("MyShapes": "my_shapes"),`', SECTION)
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


def test_the_pages_data_set_and_commands_work(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    outputs = []
    for line in "".join(blocks("bash")).replace("\\\n", "").splitlines():
        line = line.replace("$DATA", str(data)).replace("$OUTPUT", str(tmp_path / "output"))
        python, program, *words = shlex.split(line)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [program, *words])
            patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
            patch.setattr(sys, "stderr", sys.stderr)
            assert (python, PROGRAMS[program].main()) == ("python", 0), capsys.readouterr().err
        outputs.append(capsys.readouterr().out)
    trained, tested, *parsed = outputs
    (accuracy,) = re.findall(r"^\* accuracy: (.*)%$", trained, re.MULTILINE)
    assert re.findall(r"^\* accuracy: (.*)%$", tested, re.MULTILINE) == [accuracy]
    assert re.search(r"# train_x +6\n# val +6\n# test +6\n", trained)
    assert len(parsed) == 2 and all(f"accuracy: {accuracy}" in out for out in parsed)
