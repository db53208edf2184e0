"""What every command is made of: `common.commandline`, `common.files`, `common.names` (text: `datasets/test_text`)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import commandline, files, names

ROOT = Path(files.__file__).parents[1]


def raising(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "one two"),
        (KeyError("no REP_DIM"), "no REP_DIM"),
        (FloatingPointError(), "FloatingPointError"),
        (FileNotFoundError("there is no folder x"), "there is no folder x"),
        (
            OSError(errno.ENOSPC, "disk full"),
            f"[Errno {errno.ENOSPC}] disk full; make room, and the same command goes on",
        ),
        (
            ValueError("Caught it.\nOriginal Traceback (most recent call last):\n  a\nValueError: x.png: cut\n"),
            "x.png: cut",
        ),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), "CUDA out of memory"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line, capsys):
    assert commandline.run(raising(error)) == 1
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(TypeError):
        commandline.run(raising(TypeError("a fault")))


def test_status_of_a_command(capsys):
    assert [commandline.run(lambda status=status: status) for status in (0, 1, 75)] == [0, 1, 75]
    assert commandline.run(raising(KeyboardInterrupt())) == commandline.INTERRUPTED == 130
    assert not capsys.readouterr().err


def test_errors_pass_by_the_log(monkeypatch, capsys):
    console = sys.stderr
    monkeypatch.setattr(sys, "stderr", type("Log", (), {"console": console})())
    assert commandline.run(raising(ValueError("x"))) == 1
    monkeypatch.undo()
    assert capsys.readouterr().err == "error: x\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "from common import commandline\ndef main():\n    for _ in range(10**5): print('line')\n    return 0\n"
    command = f'{sys.executable} -c "{code}import sys; sys.exit(commandline.run(main))" | head -1'
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("line\n", "")


DOC = "Do a thing.\n\n    thing.py A\n\nMore about it.\n"


@pytest.mark.parametrize("short", [False, True])
def test_a_parser_explains_itself(short, capsys):
    parser = commandline.parser(DOC, prog="thing.py", short=short)
    parser.add_argument("--number", type=int)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["-h"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "\nDo a thing.\n" in said and said.endswith("    thing.py A\n\nMore about it.\n")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--number", "x"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "argument --number: invalid int value: 'x'" in said
    assert (said.count("\n") == 1 and said.endswith("(-h explains)\n")) is short
    if not short:
        assert parser.parse_args(["--num", "1"]).number == 1


def test_a_failing_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")
    for many in (False, True):
        with pytest.raises(RuntimeError), files.replacing(path, many) as partial:
            partial.write_text("half")
            raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_the_old_file_gets_the_name_of_the_backup(tmp_path):
    for content in (b"1", b"2", b"3"):
        files.write_bytes(tmp_path / "new", content, backup=tmp_path / "old")
    assert ((tmp_path / "new").read_bytes(), (tmp_path / "old").read_bytes()) == (b"3", b"2")
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_two_writers_at_once_both_write_whole_files(tmp_path):
    path = tmp_path / "file"
    with files.replacing(path, many_writers=True) as first, files.replacing(path, many_writers=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("x")
    files.write_text(tmp_path / "whole", "x")
    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "whole").stat().st_mode


def test_the_nearest_names():
    known = ["MMRL", "MaPLe", "CoOp", "CoCoOp"]
    assert names.closest("mapel", known) == ["MaPLe"] and names.closest("coop", known, 3) == ["CoOp", "CoCoOp"]
    assert names.closest("xyz", known) == [] and names.closest("MMR", {"mmrl": "folder"}) == ["folder"]
    assert names.suggest("mapel", known) == "did you mean MaPLe?" and names.suggest("x", []) == "known: none"
