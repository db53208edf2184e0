"""Whether a file is what the table of sources says: its size and its hash."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from pathlib import Path

from tqdm import tqdm

from common.files import BLOCK

from .sources import Source


def require(path: Path, source: Source) -> None:
    """Raise ValueError unless the file has the size and the hash of the table."""
    problem = mismatch(path, source)
    if problem:
        raise ValueError(f"{path} {problem}: it is damaged or another version; move it away and fetch it again")


def mismatch(path: Path, source: Source) -> str | None:
    """Say what is wrong with a file; None if nothing is, as far as the table knows."""
    size = path.stat().st_size
    if source.size is not None and size != source.size:
        return f"has {size} bytes instead of {source.size}"
    if source.digest is None:
        return None
    kind, expected = source.digest
    found = digest(path, kind)
    return None if found == expected else f"has the {kind} {found} instead of {expected}"


def digest(path: Path, kind: str) -> str:
    """Return the hexadecimal sha256, md5 or git blob id of a file."""
    size = path.stat().st_size
    sums = {"sha256": hashlib.sha256, "md5": hashlib.md5, "blob": hashlib.sha1}[kind]()
    if kind == "blob":
        sums.update(b"blob %d\0" % size)
    with path.open("rb") as file, byte_bar(f"checking {path.name}", size, delay=1) as bar:
        while chunk := file.read(BLOCK):
            sums.update(chunk)
            bar.update(len(chunk))
    return sums.hexdigest()


def is_archive(path: Path) -> bool:
    """Return whether the file looks like a zip or tar archive, whatever its name says."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def byte_bar(label: str, total: int | None, initial: int = 0, delay: float = 0) -> tqdm:
    """Make a progress bar over bytes."""
    return tqdm(
        total=total, initial=initial, desc=label, delay=delay, unit="B", unit_scale=True, unit_divisor=1024, leave=False
    )
