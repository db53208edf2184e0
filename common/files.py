"""Files that are never seen half-written, and a lock that only one process can hold.

All writing goes through `replacing`: new content is written beside the file, and takes its name once it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows has none: there, two processes on one run are the user's to avoid
    fcntl = None  # type: ignore[assignment]

BLOCK = 1 << 20
# What Pillow's decoders raise over a damaged file, and over one that is no image.
BROKEN_IMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error),
)


class RunBusy(OSError):
    """Another process holds the lock."""


@contextmanager
def replacing(
    path: str | os.PathLike[str], many_writers: bool = False, backup: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """Yield the path of a file to write, beside `path`, which takes the place of `path` when the block ends.

    After a kill or a power cut `path` holds the old content or the new one; after an error in the block, the old one.

    Args:
        path: the file to replace, or to make.
        many_writers: whether several processes may write it at once. The new file's name is then its writer's own,
            and a killed writer leaves it behind; else it is `.NAME.incomplete`, which the next attempt overwrites.
        backup: the name that the old file gets, if any. After a kill right then only this one is there.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.incomplete" if many_writers else f".{path.name}.incomplete")
    try:
        yield partial
        _sync(partial)
        if backup is not None and path.is_file():
            os.replace(path, backup)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows, which opens no folders, makes the new name last by itself
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(
    path: str | os.PathLike[str], data: bytes | memoryview, backup: str | os.PathLike[str] | None = None
) -> None:
    """Write `path` as `replacing` does. Raises OSError naming `path`, such as for a full disk."""
    try:
        with replacing(path, backup=backup) as partial:
            _fill(partial, memoryview(data))
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error


def _fill(path: Path, data: memoryview) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while data:
            data = data[os.write(handle, data[:BLOCK]) :]
    finally:
        os.close(handle)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text in UTF-8 as `write_bytes` does.

    What is not UTF-8 in the name of a file is escaped as `common.text` says, which JSON reads back by itself.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON as `write_bytes` does, one key a line.

    Raises:
        ValueError: NaN or infinity, which JSON has not; names the file.
        OSError: names the file too.
    """
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}") from error
    write_text(path, text + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(BLOCK):
            digest.update(chunk)
    return digest.hexdigest()


def check_zip(path: str | os.PathLike[str]) -> None:
    """Raise BadZipFile if `path` is a zip archive with a part that does not fit its checksum; other files pass.

    What torch saves is such an archive, and torch does not look at its checksums.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not fit its checksum")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which goes when the lock does (or when the process dies).

    Raises RunBusy: another process holds it; names that process.
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
    """Return what the holder of a lock says of itself; it has the lock a moment before it says so."""
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
