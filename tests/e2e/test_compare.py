"""scripts/compare.sh, with the methods that learn nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import train

SCRIPT = Path(train.__file__).parent / "scripts/compare.sh"


@pytest.fixture
def compare(tmp_path, python, data_root):
    (tmp_path / "data").symlink_to(data_root)
    environment = {**os.environ, "PYTHON": python, "OMP_NUM_THREADS": "1", "TO": "ZeroshotCLIP"}
    environment |= {"DATA": "data", "OUTPUT": "runs"}  # relative to where the user stands

    def run(*words):
        command = ["bash", str(SCRIPT), *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run


@pytest.mark.slow
def test_one_table_from_one_command_and_nothing_twice(compare, tmp_path):
    done = compare("digits", "ZeroshotCLIP ZeroshotCLIP2", "1")
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()[-5:]
    assert table[0].startswith("Base to new on digits, 16 shots, seeds 1, accuracy in percent")
    assert table[1].replace(" ", "") == "|Method|Config|Seeds|Base|New|HM|HM-ZeroshotCLIP|"
    assert [row.split("|")[1].strip() for row in table[3:]] == ["ZeroshotCLIP", "ZeroshotCLIP2"]
    again = compare("digits", "ZeroshotCLIP ZeroshotCLIP2", "1")
    assert again.stdout.count("Finished before, nothing to do") == 4 and again.stdout.splitlines()[-5:] == table


def test_a_failed_run_stops_nothing_and_is_named(compare, tmp_path):
    blocked = tmp_path / "runs/base2new/train_base/digits/shots_16/ZeroshotCLIP/embedded"
    blocked.mkdir(parents=True)
    (blocked / "seed1").write_text("a file where the run's folder should be")
    done = compare("digits", "ZeroshotCLIP ZeroshotCLIP2", "1")
    assert done.returncode == 1
    assert "error: failed: ZeroshotCLIP seed 1 (base2new_train)" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("| ZeroshotCLIP2 | embedded | ")


def test_a_wrong_name_is_said_before_anything_runs(compare, tmp_path):
    done = compare("digits", "ZeroshotCLIP MRML", "1")
    assert done.returncode == 1 and done.stderr.startswith("error: unknown method MRML; did you mean MMRL")
    assert not (tmp_path / "runs").exists()
