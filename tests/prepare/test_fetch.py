"""Downloads that are cut, wrong, refused or raced; most on a file of their own, the rest by the command."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import textwrap
from collections import namedtuple
from dataclasses import replace

import pytest
import requests

from datasets.prepare import checks, fetch, obtain
from datasets.prepare.sources import Source

DATA = bytes(range(256)) * 4000
SHA = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2


@pytest.fixture
def source(server):
    """One file at three URLs."""
    server.files["x/file.bin"] = DATA
    urls = tuple(f"{server.url}/x/{i}/file.bin" for i in range(3))
    return Source("file.bin", urls, size=len(DATA), sha256=SHA)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_cut_in_the_middle_goes_on_at_once(source, server, tmp_path):
    server.cuts["/x/0/file.bin"] = [HALF, HALF + 1000]
    path = fetch.fetch(source, tmp_path)
    assert path.read_bytes() == DATA and names(tmp_path) == ["file.bin"]
    assert [r.range for r in server.requests] == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert [r.sent for r in server.requests] == [HALF, 1000, HALF - 1000]


@pytest.fixture
def cut_short(server, tmp_path, monkeypatch):
    """``cut_short(source)``: the message of a download that fails, half of the file is left."""

    def attempt(source):
        server.reset()
        server.cuts["/x/0/file.bin"], server.dead = [HALF], ["/1/", "/2/"]
        with monkeypatch.context() as patch, pytest.raises(ConnectionError) as caught:
            patch.setattr(fetch, "RETRIES", 0)
            fetch.fetch(source, tmp_path)
        server.reset()
        assert (tmp_path / "file.bin.incomplete").read_bytes() == DATA[:HALF]
        return str(caught.value)

    return attempt


def test_what_a_failed_try_left_is_not_sent_again(source, server, cut_short, tmp_path):
    reasons = cut_short(source).split("; ")
    assert reasons[0] == f"{source.urls[0]}: the connection ended after {HALF} of {len(DATA)} bytes"
    assert reasons[1:3] == [f"{url}: HTTP 404 Not Found" for url in source.urls[1:]]
    kept = tmp_path / "file.bin.incomplete"
    assert reasons[3:] == [f"what came is kept in {kept}, the next try goes on from there"]
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA
    assert [(r.range, r.sent) for r in server.requests] == [(f"bytes={HALF}-", len(DATA) - HALF)]


def test_next_mirror_goes_on_where_the_first_stopped(source, server, tmp_path):
    server.cuts["/x/0/file.bin"] = [HALF] + [HALF] * fetch.RETRIES  # then nothing more comes
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA
    last = server.requests[-1]
    assert (last.path, last.range, last.sent) == ("/x/1/file.bin", f"bytes={HALF}-", len(DATA) - HALF)


def test_killed_process_leaves_what_the_next_one_needs(source, server, tmp_path):
    server.cuts["/x/0/file.bin"] = [HALF]
    program = f"""
        import os, time
        from pathlib import Path
        from datasets.prepare import fetch
        from datasets.prepare.sources import Source
        fetch.time.sleep = lambda seconds: os._exit(9)
        fetch.fetch({source!r}, Path({str(tmp_path)!r}))
    """
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    assert child.returncode == 9 and (tmp_path / "file.bin.incomplete").stat().st_size == HALF
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA
    assert server.requests[-1].sent == len(DATA) - HALF


def test_server_without_ranges_sends_all_again(source, server, tmp_path):
    (tmp_path / "file.bin.incomplete").write_bytes(b"x" * HALF)
    server.rangeless = {"/x/0/file.bin"}
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA
    assert len(server.requests) == 1


def test_bad_start_is_fetched_anew(source, server, tmp_path):
    (tmp_path / "file.bin.incomplete").write_bytes(b"x" * HALF)
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA
    assert [r.range for r in server.requests] == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("have", [len(DATA), len(DATA) + 5])
def test_complete_and_too_long_starts(have, source, server, tmp_path):
    (tmp_path / "file.bin.incomplete").write_bytes((DATA + b"other")[:have])
    for known in (source, replace(source, size=None)):
        assert fetch.fetch(known, tmp_path).read_bytes() == DATA
        (tmp_path / "file.bin").rename(tmp_path / "file.bin.incomplete")


@pytest.mark.parametrize("changed", [False, True])
def test_without_a_hash_only_the_same_file_goes_on(changed, source, server, cut_short, tmp_path):
    source = replace(source, sha256=None)
    cut_short(source)
    server.files["x/file.bin"] = DATA[::-1] if changed else DATA
    assert fetch.fetch(source, tmp_path).read_bytes() == server.files["x/file.bin"]
    assert [r.sent for r in server.requests] == [len(DATA) if changed else len(DATA) - HALF]


def test_without_a_hash_another_mirror_starts_anew(source, server, cut_short, tmp_path):
    source = replace(source, sha256=None)
    cut_short(source)
    server.dead = ["/0/"]
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA
    assert [(r.range, r.sent) for r in server.requests if r.sent] == [(None, len(DATA))]


def test_wrong_hash_tries_the_next_and_keeps_nothing(source, server, tmp_path):
    server.files["x/file.bin"] = b"x" * len(DATA)
    with pytest.raises(ConnectionError) as caught:
        fetch.fetch(source, tmp_path)
    wrong = hashlib.sha256(b"x" * len(DATA)).hexdigest()
    assert str(caught.value) == "; ".join(
        f"{url}: what it gave has the sha256 {wrong} instead of {SHA}" for url in source.urls
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["md5", "blob"])
def test_other_hashes(kind, source, server, tmp_path):
    known = replace(source, size=None, sha256=None, **{kind: "0" * (32 if kind == "md5" else 40)})
    with pytest.raises(ConnectionError, match=f"the {kind} [0-9a-f]* instead of 000"):
        fetch.fetch(known, tmp_path)
    (tmp_path / "a").write_bytes(b"what is up, doc?")
    if kind == "blob":  # the example of git's own book
        assert checks.digest(tmp_path / "a", kind) == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    else:
        assert checks.digest(tmp_path / "a", kind) == hashlib.md5(b"what is up, doc?").hexdigest()


def test_another_size_is_not_even_downloaded(source, server, tmp_path):
    server.files["x/file.bin"] = b"<html>moved</html>"
    with pytest.raises(ConnectionError, match="it offers 18 bytes instead of 1024000"):
        fetch.fetch(source, tmp_path)
    (tmp_path / "file.bin.incomplete").write_bytes(DATA[:HALF])
    server.rangeless = {f"/x/{i}/file.bin" for i in range(3)}
    with pytest.raises(ConnectionError, match=f"it offers 18 bytes, fewer than the {HALF} that are here"):
        fetch.fetch(replace(source, size=None), tmp_path)
    assert (tmp_path / "file.bin.incomplete").read_bytes() == DATA[:HALF]


def test_without_size_and_hash_a_page_is_told_from_an_archive(source, server, tmp_path):
    server.files["x/file.bin"] = b"<html>Quota exceeded</html>" * 100
    with pytest.raises(ConnectionError, match="what it gave is not an archive"):
        fetch.fetch(replace(source, size=None, sha256=None), tmp_path)


def test_no_server(tmp_path, server):
    with pytest.raises(ConnectionError, match="http://127.0.0.1:1/a: .*refused"):
        fetch.fetch(Source("a", ("http://127.0.0.1:1/a",), sha256=SHA), tmp_path)


def test_a_wrong_file_of_the_right_name_is_left_alone(source, server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match="file.bin has 4 bytes instead of 1024000: it is damaged or another version"):
        fetch.fetch(source, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"mine" and not server.requests


def test_full_disk_stops_before_and_while_writing(source, server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(OSError, match="No space left: 1024000 more bytes are needed, 1000 are free") as caught:
        fetch.fetch(source, tmp_path)
    assert caught.value.errno == errno.ENOSPC and len(server.requests) == 1
    monkeypatch.undo()

    monkeypatch.setattr(fetch.os, "fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        fetch.fetch(source, tmp_path)
    monkeypatch.undo()
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA


def drive(content=None):
    """What a session of requests answers in place of Google: the file, or a page that says no."""
    response = requests.Response()
    response.status_code, response.url = 200, "https://drive.google.com/uc?id=1"
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response._content = b'<p class="uc-error-subcaption">Too many users have viewed this file</p>'
    if content is not None:
        response._content, response.raw = False, io.BytesIO(content)
        response.headers["Content-Disposition"] = 'attachment; filename="file.bin"'
        response.headers["Content-Type"] = "application/octet-stream"
    return response


def test_google_drive_by_the_real_gdown(tmp_path, monkeypatch):
    source = Source("file.bin", ("gdrive:1",), size=len(DATA), sha256=SHA)

    def refuse(*arguments, **options):
        raise requests.ConnectionError("no network")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(requests.Session, "request", refuse)
    with pytest.raises(ConnectionError, match="^gdrive:1: no network$"):
        fetch.fetch(source, tmp_path)
    monkeypatch.setattr(requests.Session, "request", lambda *arguments, **options: drive())
    with pytest.raises(ConnectionError, match="gdrive:1: .*Too many users have viewed this file"):
        fetch.fetch(source, tmp_path)
    monkeypatch.setattr(requests.Session, "request", lambda *arguments, **options: drive(DATA))
    assert fetch.fetch(source, tmp_path).read_bytes() == DATA


def test_drive_is_second_to_none_but_may_fail(server, prepare, tmp_path):
    server.dead = ["gdrive", "/1/"]
    assert prepare("DescribableTextures", "--root", tmp_path).status == 0
    paths = [r.path for r in server.requests if "split" in r.path or "gdrive" in r.path]
    assert [path.split("/")[-2:] for path in paths[1:]] == [
        [i, "split_zhou_DescribableTextures.json"] for i in ("1", "2")
    ]
    assert paths[0].startswith("gdrive:")


def test_all_sources_of_images_dead(server, prepare, tmp_path):
    server.dead = ["cars_t", "whole", "stanford_cars.zip"]
    run = prepare("StanfordCars", "--root", tmp_path)
    base = f"{server.url}/StanfordCars/0"
    assert run.status == 1 and len(run.errors) == 2 and "\n" not in run.errors[0]
    assert run.errors[0].startswith(
        f"error: StanfordCars: cars_train cannot be had: {base}/cars_train.tgz: HTTP 404 Not Found; "
        f"{base}/stanford_cars.zip: HTTP 404 Not Found; fetch cars_train.tgz ("
    )
    assert run.errors[0].endswith(
        f"run python mmrl.py prepare StanfordCars --root {tmp_path} --archive PATH/cars_train.tgz"
    )
    assert len(server.asked("stanford_cars.zip")) == 1, "a dead archive is asked for once"
    # The rest is there, and the next call needs the images only.
    server.reset()
    assert prepare("StanfordCars", "--root", tmp_path).status == 0
    assert [r.path.split("/")[-1] for r in server.requests] == ["cars_train.tgz", "cars_test.tgz"]


def test_two_processes_at_once(server, tmp_path):
    program = f"""
        import sys
        from pathlib import Path
        from commands.prepare import main
        sys.exit(main(["EuroSAT", "FGVCAircraft", "--root", {str(tmp_path)!r}], Path({str(server.table)!r})))
    """
    drive = textwrap.dedent(program).replace("sys.exit", "import gdown; gdown.download = lambda **o: None\nsys.exit")
    command = [sys.executable, "-c", drive]
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) for _ in range(2)]
    outs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert all(f"EuroSAT: complete in {tmp_path}/eurosat" in out for out in outs)
    assert [len(server.asked(f)) for f in ("EuroSAT.zip", "2013b.tar.gz", "1/split_zhou_EuroSAT.json")] == [1, 1, 1]


def test_a_process_waits_for_the_lock(server, prepare, tmp_path, monkeypatch):
    store = tmp_path / ".downloads/EuroSAT"
    store.mkdir(parents=True)
    program = f"""
        import select, sys
        from filelock import FileLock
        with FileLock({str(store / ".lock")!r}):
            print("held", flush=True)
            select.select([sys.stdin], [], [], 20)  # until the waiting is said
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr(obtain, "print", lambda *said, **_: (print(*said), other.stdin.close()), raising=False)
        run = prepare("EuroSAT", "--root", tmp_path)
    assert run.status == 0
    assert run.out[0] == f"EuroSAT: another process is at it, waiting ({store}/.lock)"
