"""Files that are never seen half-written, and a lock that only one process can hold."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from trainers.shared.atomic import write_bytes

try:
    import fcntl
except ImportError:  # Windows has none: there, two processes on one run are the user's to avoid
    fcntl = None  # type: ignore[assignment]


class RunBusy(OSError):
    """Another process holds the lock."""


def write_text(path: Path, text: str) -> None:
    """Write `path` atomically: whatever happens, it holds either the old content or the new one. OSError names it.

    What is not UTF-8 in the name of a file is escaped as `common.text` says, which JSON reads back by itself.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, one key a line. ValueError naming the file for NaN and infinity, which JSON has not."""
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}") from error
    write_text(path, text + "\n")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which goes when the lock does (or when the process dies).

    Raises:
        RunBusy: another process holds it; names that process.
    """
    if fcntl is None:
        yield
        return
    while True:
        file = open(path, "ab+", buffering=0)
        try:
            # Not flock: loader workers would inherit that one and outlive a killed run with it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = _holder(file) or "an unknown process"
            file.close()
            raise RunBusy(f"{path.parent} is being run by another process ({holder})") from None
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # its holder deleted it between our open and our lock: try the new one
    try:
        file.truncate(0)
        _write_all(path, file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _holder(file: FileIO) -> str:
    """What the holder of a lock says of itself; it has the lock a moment before it says so."""
    for _ in range(20):
        file.seek(0)
        if said := file.read().decode(errors="replace").strip():
            return said
        time.sleep(0.05)
    return ""


def _write_all(path: Path, file: FileIO, data: bytes) -> None:
    try:
        file.write(data)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
