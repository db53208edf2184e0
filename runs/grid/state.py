"""How far a run is, from what stands in its folder."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

from runs import record

STATES = ("done", "running", "stopped", "failed", "differs", "missing")
Plan = Callable[[list[str]], record.Run]  # what train.py would make of these arguments


def look(folder: Path, arguments: list[str], plan: Plan) -> tuple[str, str]:
    """Return the state of a run (one of STATES) and what there is to say about it, or "".

    `done` is only what `train.py` with these arguments would find done.
    """
    try:
        content = record.read(folder)
    except record.DamagedRecord as error:
        return "stopped", str(error)
    except NotADirectoryError:
        return "failed", f"{folder} is a file, or lies in one"
    holder = holder_of(folder)
    if holder:
        return "running", holder
    if content is None:
        return "missing", ""
    if content["status"] == "failed":
        return "failed", content.get("error", "")
    if content["status"] != "success":
        return "stopped", content["status"]
    try:
        plan(arguments).state()
    except (record.ConfigDiffers, record.DataDiffers) as error:
        return "differs", str(error)
    except (FileNotFoundError, ValueError):
        return "done", "its model is gone"
    return "done", ""


def holder_of(folder: Path) -> str:
    """Return the process that has the run, such as `process 17 on node3`, "" where it is known to be gone."""
    try:
        text = (folder / record.LOCK).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    found = re.fullmatch(r"process (\d+) on (.+)", text.strip())
    if found is None:
        return ""
    return text.strip() if found[2] != socket.gethostname() or _lives(int(found[1])) else ""


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
