"""Downloads that go on where they were cut, and are checked before they get their name.

Data goes to ``NAME.incomplete``, which stays when a download fails, so that the next one asks for the rest only.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from common.files import BLOCK

from .checks import byte_bar, is_archive, mismatch, require
from .sources import DRIVE, Source

TIMEOUT_SECONDS = 30
RETRIES = 2
RETRY_SECONDS = 2.0
# GitHub's interface for contents by their id gives the bytes themselves if asked so; other servers ignore it.
HEADERS = {"User-Agent": "datasets.prepare", "Accept": "application/vnd.github.raw, */*", "Accept-Encoding": "identity"}


class Interrupted(ConnectionError):
    """A download that may succeed when asked again."""


def fetch(source: Source, folder: Path) -> Path:
    """Return ``folder/source.file``, downloaded unless it is there and right.

    Args:
        source: its URLs are tried in order. With a known hash, a download goes on at another URL where it stopped.
        folder: must be writable; one process at a time.

    Raises:
        ConnectionError: no URL gave the file; the message says why for each, and what to do.
        ValueError: the file is there, but not what the table says.
        OSError: it cannot be written; the disk is full.
    """
    target = folder / source.file
    if target.is_file():
        require(target, source)
        return target
    part = folder / f"{source.file}.incomplete"
    reasons = []
    for url in source.urls:
        try:
            _obtain(url, part, source)
        except ConnectionError as error:
            reasons.append(f"{url}: {error}")
            continue
        part.replace(target)
        _validator_file(part).unlink(missing_ok=True)
        return target
    kept = f"; what came is kept in {part}, the next try goes on from there" if _size(part) else ""
    raise ConnectionError("; ".join(reasons) + kept)


def _obtain(url: str, part: Path, source: Source) -> None:
    """Complete ``part`` from one URL and check it; ConnectionError if the URL does not give the right file."""
    resumed = _size(part) > 0
    _download(url, part, source)
    problem = _wrong(part, source)
    if problem and resumed:
        # The older bytes may be at fault.
        _discard(part)
        _download(url, part, source)
        problem = _wrong(part, source)
    if problem:
        _discard(part)
        raise ConnectionError(f"what it gave {problem}")


def _wrong(part: Path, source: Source) -> str | None:
    # Without a hash, at least tell an archive from a page of apologies.
    if source.digest is None and source.size is None and not is_archive(part):
        return "is not an archive"
    return mismatch(part, source)


def _download(url: str, part: Path, source: Source) -> None:
    if url.startswith(DRIVE):
        _from_drive(url.removeprefix(DRIVE), part, source)
        return
    idle = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, source)
            return
        except Interrupted:
            idle = 0 if _size(part) > before else idle + 1
            if idle == RETRIES:
                raise
            time.sleep(RETRY_SECONDS)


def _transfer(url: str, part: Path, source: Source) -> None:
    """One request for what is missing of ``part``; Interrupted if less came than was announced."""
    have = _resumable(url, part, source)
    if have and have == source.size:
        return
    request = urllib.request.Request(url, headers={**HEADERS, **_range(part, have, source)})
    response = _open(request, part)
    if response is None:
        if source.size is not None:
            raise ConnectionError(f"it offers {have} bytes instead of {source.size}")
        return
    with response:
        start, total = _extent(response, have)
        if source.size is not None and total not in (None, source.size):
            raise ConnectionError(f"it offers {total} bytes instead of {source.size}")
        if start < have and total is not None and total < have:  # more likely a page than the file
            raise ConnectionError(f"it offers {total} bytes, fewer than the {have} that are here already")
        _need_space(part, (total or 0) - start)
        _copy(response, url, part, start, total)
    if total is not None and _size(part) < total:
        raise Interrupted(f"the connection ended after {_size(part)} of {total} bytes")


def _resumable(url: str, part: Path, source: Source) -> int:
    """Bytes of ``part`` that can be kept. Without a hash only those of the same file at the same URL."""
    have = _size(part)
    if source.size is not None and have > source.size:
        return 0
    if source.digest is None and _read_validator(part)[0] != url:
        return 0
    return have


def _range(part: Path, have: int, source: Source) -> dict[str, str]:
    if not have:
        return {}
    condition = {} if source.digest else {"If-Range": _read_validator(part)[1]}
    return {"Range": f"bytes={have}-", **condition}


def _open(request: urllib.request.Request, part: Path) -> Any:
    """Return the answer to a request; None where `part`, of which the rest is asked for, is the whole file."""
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what we have: either we have all, or of another file
            if request.has_header("Range") and error.headers.get("Content-Range") == f"bytes */{_size(part)}":
                return None
            _discard(part)
        retry = error.code in (416, 429) or error.code >= 500
        raise (Interrupted if retry else ConnectionError)(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(getattr(error, "reason", None) or error)) from error


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where in the file the answer starts, and the size of the whole file if it is told."""
    if response.status != 206:
        length = response.headers.get("Content-Length")
        return 0, int(length) if length else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        raise ConnectionError(f"asked for the bytes from {have}, it gave others")
    return have, None if match[2] == "*" else int(match[2])


def _copy(response: Any, url: str, part: Path, start: int, total: int | None) -> None:
    with part.open("r+b" if part.exists() else "xb") as file, byte_bar(part.stem, total, initial=start) as bar:
        file.truncate(start)
        _write_validator(url, part, response)
        file.seek(start)
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _read(response: Any) -> bytes:
    try:
        return response.read(BLOCK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error)) from error


def _need_space(part: Path, bytes_: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if bytes_ > free:
        raise OSError(errno.ENOSPC, f"No space left: {bytes_} more bytes are needed, {free} are free", str(part))


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")


def _write_validator(url: str, part: Path, response: Any) -> None:
    """Note what tells one version of a file from the next, for the request that goes on (RFC 9110, If-Range)."""
    tag = response.headers.get("ETag") or ""
    validator = response.headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag
    if validator:
        _validator_file(part).write_text(f"{url}\n{validator}\n", encoding="utf-8")
    else:
        _validator_file(part).unlink(missing_ok=True)


def _read_validator(part: Path) -> tuple[str, str]:
    file = _validator_file(part)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return (lines[0], lines[1]) if len(lines) == 2 else ("", "")


def _from_drive(file_id: str, part: Path, source: Source) -> None:
    """A file on Google Drive, whose pages of warnings gdown knows to pass; it goes on with its own partial file."""
    import gdown
    import requests

    # The second is the first's base in newer versions only.
    refusals = [getattr(gdown.exceptions, name, None) for name in ("FileURLRetrievalError", "DownloadError")]
    failures = (requests.RequestException, *filter(None, refusals))
    own = part.with_name(f"{source.file}.drive")
    messages = {"start": f"{source.file} from Google Drive\n", "output": ""}
    try:
        path = own.is_file() or gdown.download(id=file_id, output=str(own), resume=True, log_messages=messages)
    except failures as error:
        raise ConnectionError(" ".join(str(error).split())[:200]) from error
    if not path:
        raise ConnectionError("gdown could not fetch it")
    own.replace(part)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
