"""Unpacking archives from strangers: nothing is written outside the given folder, and nothing but files and folders.

Links are never made: one that stays inside the archive becomes a copy of the file it names, any other is refused.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from common.files import BLOCK

ZIP_START = b"PK\3\4"
MAX_MEMBERS = 3_000_000
# Photos do not shrink: what grows a hundred times is no dataset.
MAX_GROWTH = 100
FREE_BYTES = 100 << 20
MAX_LINK_BYTES = 4096
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")

# What the readers raise on archives that are cut or corrupt.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError),
    *(FileExistsError, IsADirectoryError, NotADirectoryError),
)


def unpack(archive: Path, folder: Path, inner: str | None = None) -> None:
    """Unpack a zip or (compressed) tar archive, told apart by content.

    Args:
        archive: the file.
        folder: made if need be; after an error what came so far is in it.
        inner: pattern of names of tar archives inside, each unpacked into a folder of its name.

    Raises:
        ValueError: a damaged archive, or a member that is refused: absolute or climbing path, link that leads outside,
            device, too many or too large members.
        OSError: writing failed.
    """
    if not hasattr(tarfile, "data_filter"):
        raise OSError("this Python cannot unpack safely: use 3.10.12, 3.11.4, 3.12 or newer")
    folder.mkdir(parents=True, exist_ok=True)
    size = archive.stat().st_size
    try:
        with (
            archive.open("rb") as raw,
            tqdm(total=size, desc=f"unpacking {archive.name}", unit="B", leave=False) as bar,
        ):
            bar.unit_scale = True
            unpacking = _Unpacking(raw, bar, size * MAX_GROWTH + FREE_BYTES)
            reader = unpacking.zip if raw.read(4) == ZIP_START else unpacking.tar
            raw.seek(0)
            reader(raw, folder, inner)
    except _DAMAGE as error:
        raise ValueError(f"{archive} is damaged or no archive ({error}): move it away and fetch it again") from error
    except _Refused as error:
        raise ValueError(f"{archive} is refused: {error}; nothing of it was used") from error


class _Refused(Exception):
    """A member that no dataset has any need of."""


class _Unpacking:
    """One run through an archive and those inside it, counting what comes out."""

    def __init__(self, raw: IO[bytes], bar: tqdm, max_bytes: int) -> None:
        self.raw, self.bar = raw, bar
        self.max_bytes, self.bytes, self.members = max_bytes, 0, 0

    def count(self, name: str, size: int = 0, members: int = 0) -> None:
        self.bytes += size
        self.members += members
        if self.bytes > self.max_bytes:
            raise _Refused(f"at {name!r} it has grown to more than {self.max_bytes} bytes")
        if self.members > MAX_MEMBERS:
            raise _Refused(f"it has more than {MAX_MEMBERS} members")

    def advance(self) -> None:
        position = self.raw.tell()
        if position > self.bar.n:
            self.bar.update(position - self.bar.n)

    def tar(self, stream: IO[bytes], folder: Path, inner: str | None) -> None:
        links = []
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                path = inside(member.name)
                self.count(member.name, member.size, members=1)
                self.advance()
                if member.issym():
                    links.append((path, path.parent, member.linkname))
                elif member.islnk():
                    links.append((path, PurePosixPath(), member.linkname))
                elif member.isdir():
                    (folder / path).mkdir(parents=True, exist_ok=True)
                elif not member.isreg():
                    raise _Refused(f"{member.name!r} is a device or pipe")
                elif inner and fnmatch(path.name, inner):
                    content = archive.extractfile(member)
                    assert content is not None  # a regular file
                    self.tar(content, folder / _stem(path), None)
                else:
                    archive.extract(member, folder, filter="data")
        self.copy_links(folder, links)

    def zip(self, stream: IO[bytes], folder: Path, inner: str | None) -> None:
        links = []
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                path = inside(info.filename)
                self.count(info.filename, members=1)
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.flag_bits & 1:
                    raise _Refused(f"{info.filename!r} is encrypted")
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    raise _Refused(f"{info.filename!r} is a device or pipe")
                if info.is_dir():
                    (folder / path).mkdir(parents=True, exist_ok=True)
                    continue
                with archive.open(info) as content:
                    if kind == stat.S_IFLNK:
                        target = content.read(MAX_LINK_BYTES).decode(errors="replace")
                        links.append((path, path.parent, target))
                    elif inner and fnmatch(path.name, inner):
                        self.tar(content, folder / _stem(path), None)
                    else:
                        self.write(content, folder / path, info.filename)
                self.advance()
        self.copy_links(folder, links)

    def write(self, content: IO[bytes], target: Path, name: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while chunk := content.read(BLOCK):
                self.count(name, len(chunk))  # what comes out, whatever the archive's directory says
                file.write(chunk)

    def copy_links(self, folder: Path, links: list[tuple[PurePosixPath, PurePosixPath, str]]) -> None:
        for path, base, target in links:
            source = folder / inside(target, base, f"{path} -> {target}")
            if not source.is_file():
                raise _Refused(f"the link '{path} -> {target}' names no file of the archive")
            self.count(str(path), source.stat().st_size)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / path)


def inside(name: str, base: PurePosixPath | None = None, shown: str | None = None) -> PurePosixPath:
    """Return a member's path, or a link's target seen from ``base``, if it stays within the archive."""
    shown = repr(shown or name)
    if name.startswith("/") or "\\" in name or "\0" in name or name[1:2] == ":":
        raise _Refused(f"{shown} is an absolute or foreign path")
    parts = list(base.parts) if base else []
    for part in PurePosixPath(name).parts:
        if part != "..":
            parts.append(part)
        elif base is None or not parts:
            raise _Refused(f"{shown} leads outside")
        else:
            parts.pop()
    return PurePosixPath(*parts)


def _stem(path: PurePosixPath) -> PurePosixPath:
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if path.name.endswith(suffix)), path.suffix)
    return path.with_name(path.name.removesuffix(suffix))
