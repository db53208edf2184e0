"""Files that appear whole or not at all. Nothing here needs torch."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK = 1 << 20


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``path`` atomically and durably: after a kill or a power cut it holds the old content or the new one.

    For one writer at a time. Raises OSError naming ``path``, such as for a full disk; the old content then stays.
    """
    path = Path(path)
    # A fixed name: what a kill leaves behind is overwritten by the next attempt, and does not pile up.
    partial = path.with_name(f".{path.name}.incomplete")
    try:
        try:
            _fill(partial, data)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error


def _fill(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left[:BLOCK]) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` last; Windows, which opens no folders, does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
