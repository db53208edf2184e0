"""docs/coming-from-coop.md: what it says of our trainers in a checkout of CoOp, done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.standin import workplace
from trainers.shared.engine import LOST

ROOT = workplace.ROOT
SECTION = (ROOT / "docs/coming-from-coop.md").read_text().split("## Our trainers in your checkout")[1].split("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def test_the_lines_to_add_are_those_of_the_train_py_that_is_tried():
    (lines,) = blocks("python")
    tried = (workplace.HERE / "coop_train.py").read_text()
    assert all(line in tried for line in lines.splitlines()) and len(lines.splitlines()) == 6


@pytest.mark.slow
def test_the_commands_work_on_the_public_dassl(tmp_path):
    """On the stand-in, which is installed elsewhere; `CoOp` holds a checkout's `train.py` with the added lines."""
    copy, train, recorded = blocks("bash")
    installed = workplace.install_public(tmp_path / "site")
    (tmp_path / "CoOp").mkdir()
    (tmp_path / "data").mkdir()
    shutil.copy(workplace.HERE / "coop_train.py", tmp_path / "CoOp/train.py")
    here = {"OURS": str(ROOT), "DATA": str(tmp_path / "data"), "PYTHONPATH": str(installed)}
    python = f'python() {{ "{sys.executable}" "$@"; }}\nset -e\n'
    done = subprocess.run(
        ["bash", "-c", python + copy + train + recorded],
        cwd=tmp_path,
        env={**os.environ, **here},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    output = tmp_path / "coop-mmrl/output"
    results = [re.findall(r"accuracy: .*", Path(output, name, "log.txt").read_text()) for name in ("mmrl", "recorded")]
    assert results[0] == results[1] and len(results[0]) == 1
    assert done.stdout.count(LOST) == 1
    assert json.loads((output / "recorded/record.json").read_text())["engine"] == "public"
