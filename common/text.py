"""Text as people have it: files in whatever encoding, and names that have none.

A file name is bytes. What is not UTF-8 in it Python holds as lone surrogates (byte E9 as U+DCE9), which can be written
nowhere. In files, logs and on terminals they are written as ``\\udce9``: in JSON this is the character's own escape,
elsewhere `unescape` reads it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WINDOWS = "cp1252"
ESCAPE = re.compile(r"\\udc([89a-f][0-9a-f])")
SAVE_IT = "save it as text in UTF-8"


def unescape(text: str) -> str:
    """Return text with ``\\udce9`` and the like as the bytes of a file name that they stand for."""
    return ESCAPE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text)


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as the text of a CSV file; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def is_text(name: str) -> bool:
    """Return whether a name is Unicode throughout: a file name that is not UTF-8 is not."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in name)


def check_folder(path: str) -> None:
    """See that a folder to write into is called by text: not every library that writes can do with less.

    Raises ValueError: its name is not UTF-8.
    """
    if not is_text(path):
        raise ValueError(f"cannot write into {path}: its name is not UTF-8; choose another folder")


def print_anything() -> None:
    """Make stdout and stderr escape what their encoding lacks, so that no name can end a program that prints it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def read_users_text(path: str) -> str:
    """Read a text file of the user's; lines end in ``\\n``.

    UTF-8 or UTF-16, with a byte order mark or without. What is neither is read as Windows-1252, and that is said in a
    line with the first such text, unless it cannot be right. Raises ValueError: it is no text, or in another encoding.
    """
    with open(path, "rb") as file:
        data = file.read()
    text = _unicode(path, data)
    if text is None:
        text = _windows(path, data)
    if any(unicodedata.category(c) == "Cc" and c not in "\t\n\r\f\x85" for c in set(text)):
        raise ValueError(f"{path} is not a text file: {SAVE_IT}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unicode(path: str, data: bytes) -> str | None:
    """The text if it is in an encoding of Unicode, else None."""
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), None)
    if encoding is None and b"\0" in data:
        if data.startswith(b"PK"):
            raise ValueError(f"{path} is a workbook or an archive, not a text file: save it as CSV in UTF-8")
        # Without a mark only a first character of ASCII tells the order of bytes.
        zeros = data[:1] == b"\0", data[1:2] == b"\0"
        encoding = {(True, False): "utf-16-be", (False, True): "utf-16-le"}.get(zeros)
        if encoding is None:
            raise ValueError(f"{path} is not a text file: {SAVE_IT}")
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding is None:
            return None
        raise ValueError(f"{path} is not a text file, or damaged ({error.reason}): {SAVE_IT}") from None


def _windows(path: str, data: bytes) -> str:
    """The text in Windows-1252, with a line of warning; ValueError where that makes no words."""
    try:
        text = data.decode(WINDOWS)
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {number}: is neither UTF-8 nor Windows-1252: {SAVE_IT}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if not line.isascii()]
    for number, line in lines:
        if re.search(r"[^\x00-\x7f]{3}", line):  # Cyrillic, Greek or Chinese text of an older encoding, most likely
            raise ValueError(
                f"{path}, line {number}: is not UTF-8, and in Windows-1252 reads {line.strip()!r}: {SAVE_IT}"
            )
    number, line = lines[0]
    print(f"note: {path} is not UTF-8 and read as Windows-1252: line {number} is {line.strip()!r}; if not, {SAVE_IT}")
    return text
