"""A folder that holds this project with the stand-in for the public Dassl in place of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
START = "from standin.install import install\n\ninstall()\n"


def furnish(folder: Path) -> Path:
    """Fill a folder with links to the project, without anything of its `dassl/`, and with the stand-in."""
    folder.mkdir()
    for name in ("trainers", "clip", "datasets", "common", "runs", "configs", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    for script in (ROOT / "train.py", HERE / "drive.py"):
        shutil.copy(script, folder)  # Python puts the folder of a link's target on its path
    return install_public(folder)


def install_public(folder: Path) -> Path:
    """Put the stand-in into a folder, as its package `dassl`."""
    (folder / "dassl").mkdir(parents=True)
    (folder / "dassl/__init__.py").write_text(START, encoding="utf-8")
    (folder / "standin").symlink_to(HERE)
    return folder


def run(python: str, folder: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a script there, with the command `python`."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def drive(python: str, folder: Path, data: Path, *methods: str) -> dict[str, Any]:
    """What `drive.py` finds there, with the file of each module that has Dassl in its name."""
    done = run(python, folder, "drive.py", data, folder / "output", *methods)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
