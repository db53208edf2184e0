"""Runs as the grid makes them, up to the report, and its command back to the grid."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reporting import command

ROOT = Path(command.__file__).parents[1]


def call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "mmrl.py", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_real_run_is_read_and_the_command_for_the_missing_one_is_grids(tmp_path):
    data, output = tmp_path / "data", tmp_path / "my output"
    data.mkdir()
    words = ["fewshot", "--datasets", "digits", "--methods", "ZeroshotCLIP", "--shots", "1", "--seeds", "1"]
    options = ["--", "DATALOADER.TEST.BATCH_SIZE", "90"]
    assert call("grid", *words, "--root", data, "--output", output, *options).returncode == 0
    done = call("report", output, "--out", tmp_path / "out", "--seeds", 1, 2)
    assert done.returncode == 0 and "Read 1 records" in done.stdout
    table = (tmp_path / "out/tables/few_shot_embedded.md").read_text()
    assert re.search(r"\| digits +\| ZeroshotCLIP +\| +1 \| +\d+\.\d\d \(1 of 2!\) \|", table)
    assert "embedded suite" in (tmp_path / "out/report.md").read_text()
    (line,) = re.findall(r"^  python mmrl.py (grid .*)$", done.stdout, re.MULTILINE)
    words = shlex.split(line)
    missing = call(*words[: words.index("--")], "--missing", *words[words.index("--") :])
    assert "missing  few_shot/digits/shots_1/ZeroshotCLIP/embedded/seed2" in missing.stdout
    again = call(
        *[{"2": "1"}.get(word, word) for word in words[: words.index("--")]], "--list", *words[words.index("--") :]
    )
    assert "done     few_shot/digits/shots_1/ZeroshotCLIP/embedded/seed1" in again.stdout  # the same configuration
