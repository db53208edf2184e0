"""docs/adding-a-method.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import train

ROOT = Path(train.__file__).parent
PAGE = (ROOT / "docs/adding-a-method.md").read_text(encoding="utf-8")
TOP = (
    "benchmarks classify clip commands common configs dassl datasets docs reference runs scripts tests tools "
    "trainers pyproject.toml"
).split()
ROWS, SETTINGS = "trainers/__init__.py", "trainers/settings.py"
FILES = (
    "trainers/toy.py",
    "reference/toy.py",
    *(f"configs/trainers/Toy/{name}" for name in ("vit_b16.yaml", "embedded.yaml", "protocols")),
)


def blocks() -> dict[str, str]:
    """Code blocks by the file that the line before them names, or by their language."""
    found = {}
    for place, language, code in re.findall(
        r"(?:^([^\n]*:)\n\n)?^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
    ):
        named = re.search(r"`(\S+/\S+)`", place)
        found[named.group(1) if named else f"{language} block"] = code
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project with what the page says to write."""
    folder, page = tmp_path_factory.mktemp("project"), blocks()
    for path in [ROOT / name for name in TOP] + list(ROOT.glob("*.py")):
        if path.is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(path, folder / path.name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(path, folder)
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(page[name], encoding="utf-8")
    rows, settings = folder / ROWS, folder / SETTINGS
    before, start, after = rows.read_text(encoding="utf-8").partition("METHODS = {\n")
    rows.write_text(before + start + page[ROWS] + after, encoding="utf-8")
    settings.write_text(f"{settings.read_text(encoding='utf-8')}\n\n{page[SETTINGS]}", encoding="utf-8")
    return folder


@pytest.fixture
def call(copy, python) -> Callable[[str], subprocess.CompletedProcess]:
    """``call(command)``: a command of the page, in the copy, whose `python` has torch loaded."""
    unset = ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "OUTPUT", "DATA")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    environment |= {"PATH": f"{Path(python).parent}{os.pathsep}{environment['PATH']}", "OMP_NUM_THREADS": "1"}
    return partial(subprocess.run, shell=True, cwd=copy, env=environment, capture_output=True, text=True)


def test_the_page_has_what_this_test_takes():
    assert set(blocks()) == {*FILES, ROWS, SETTINGS, "sh block"}
    assert [line.split()[0] for line in blocks()["sh block"].splitlines()] == ["python", "bash", "bash", "python"]


def test_contract_tests_pass_for_the_pages_method(call):
    done = call(f"{blocks()['sh block'].splitlines()[0]} -rA -p no:cacheprovider")
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout[-2000:] + done.stderr
    passed = re.findall(r"^PASSED tests/\S+::(\w+)\[(.*)\]$", done.stdout, re.MULTILINE)
    assert {
        "test_trains_and_tests_base_then_new",
        "test_lowers_its_loss_and_touches_nothing_else",
        "test_precisions_stay_close_to_fp32",
        "test_float64_equals_the_equations",
        "test_every_fact_is_there_or_has_a_reason",
    } <= {name for name, _ in passed}
    assert {"Toy-vit_b16", "Toy-embedded"} <= {case for _, case in passed} and len(passed) >= 11


def test_the_page_passes_the_projects_linter(call):
    pytest.importorskip("ruff")
    done = call("python -m ruff check trainers reference && python -m ruff format --check trainers reference")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_pages_method_runs_base_to_new(call):
    for command in blocks()["sh block"].splitlines()[1:]:
        done = call(command)
        assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr}"
    assert re.search(r"\| Toy +\| embedded +\| 1 ", done.stdout)
