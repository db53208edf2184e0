"""Files that are never seen half-written, and a lock that only one process can hold."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none: there, two processes on one run are the user's to avoid
    fcntl = None  # type: ignore[assignment]


class RunBusy(OSError):
    """Another process holds the lock."""


def write_text(path: Path, text: str) -> None:
    """Write `path` atomically: whatever happens, it holds either the old content or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, one key a line."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


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
        file = open(path, "a+", encoding="utf-8")
        try:
            # Not flock: loader workers would inherit that one and outlive a killed run with it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            file.close()
            raise RunBusy(f"{path.parent} is being run by another process ({holder})") from None
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # its holder deleted it between our open and our lock: try the new one
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
