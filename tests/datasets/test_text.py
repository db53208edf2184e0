"""Text files in whatever encoding, and names that have none."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text import is_text, print_anything, read_users_text, unescape

TEXT = 'path,classname\r\n"a/1.png",café\rb,naïve "漢"\n'
READ = 'path,classname\n"a/1.png",café\nb,naïve "漢"\n'


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
    ],
    ids=["utf-8", "bom", "utf-16-le bom", "utf-16-be bom", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_every_encoding_of_unicode_reads_alike_and_without_a_word(data, tmp_path, capsys):
    (tmp_path / "t").write_bytes(data)
    assert read_users_text(str(tmp_path / "t")) == READ and capsys.readouterr() == ("", "")


def test_windows_text_is_read_and_said(tmp_path, capsys):
    path = tmp_path / "names.txt"
    path.write_bytes("one 1\ncafé Café – “x”\n".encode("cp1252"))
    assert read_users_text(str(path)) == "one 1\ncafé Café – “x”\n"
    assert capsys.readouterr().out == (
        f"note: {path} is not UTF-8 and read as Windows-1252: line 2 is 'café Café – “x”'; if not, save it as text in"
        " UTF-8\n"
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"PK\x03\x04\0\0", "{} is a workbook or an archive, not a text file: save it as CSV in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "{} is not a text file: save it as text in UTF-8"),
        (b"a,b\n\0\0", "{} is not a text file: save it as text in UTF-8"),
        (b"a\0\1\0", "{} is not a text file: save it as text in UTF-8"),
        (b"a\x07b", "{} is not a text file: save it as text in UTF-8"),
        (codecs.BOM_UTF16_LE + b"a", "{} is not a text file, or damaged (truncated data): save it as text in UTF-8"),
        (
            "one 1\nтри tri\n".encode("cp1251"),
            "{}, line 2: is not UTF-8, and in Windows-1252 reads 'òðè tri': save it as text in UTF-8",
        ),
        (b"one 1\n\x81 \n", "{}, line 2: is neither UTF-8 nor Windows-1252: save it as text in UTF-8"),
    ],
)
def test_what_is_refused(data, line, tmp_path):
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(ValueError) as error:
        read_users_text(str(tmp_path / "t"))
    assert str(error.value) == line.format(tmp_path / "t")


@given(st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\\" not in name))
@settings(max_examples=200, deadline=None)
def test_names_of_any_bytes_read_back(name):
    """As JSON has them by itself, and as logs and CSV files do."""
    text = name.decode("utf-8", "surrogateescape")
    written = text.encode("utf-8", "backslashreplace").decode()
    assert unescape(written) == text and is_text(text) == (written == text)
    quoted = json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")
    assert json.loads(quoted) == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_name_ends_a_program_that_prints_it(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_anything()
    print(os.fsdecode(b"caf\xe9 \xe6\xbc\xa2"), flush=True)
    assert stream.buffer.getvalue().decode(encoding).replace("\\u6f22", "漢") == "caf\\udce9 漢\n"
