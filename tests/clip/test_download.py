"""Downloads, against a local server: whole and right under the final name, or not there at all."""

from __future__ import annotations

import hashlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import clip
from clip.weights import resolve

DATA = bytes(range(256)) * 5000
SHA = hashlib.sha256(DATA).hexdigest()
OTHER_SHA = hashlib.sha256(b"other").hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """``/whole/...``: all; ``/cut/...``: half of what is announced; ``/silent/...``: half, unannounced."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind not in ("whole", "cut", "silent"):
            self.send_error(404)
            return
        self.server.hits += 1
        self.send_response(200)
        if kind != "silent":
            self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if kind == "whole" else DATA[: len(DATA) // 2])

    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def running_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(running_server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running_server.hits = 0
    return running_server


def url(server, kind, sha=SHA):
    return f"http://127.0.0.1:{server.server_port}/{kind}/{sha}/model.pt"


def test_download_and_keep(server, tmp_path, capfd):
    root = tmp_path / "a" / "b"
    path = clip._download(url(server, "whole"), root)
    assert path == str(root / "model.pt") and (root / "model.pt").read_bytes() == DATA
    assert "model: 100%" in capfd.readouterr().err
    assert clip._download(url(server, "whole"), str(root)) == path
    assert server.hits == 1 and [p.name for p in root.iterdir()] == ["model.pt"]


def test_default_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert clip._download(url(server, "whole")) == str(tmp_path / ".cache/clip/model.pt")


def test_file_with_wrong_hash_is_downloaded_again(server, tmp_path):
    (tmp_path / "model.pt").write_bytes(DATA[:1000])
    with pytest.warns(UserWarning, match=r"model\.pt has the wrong SHA-256"):
        clip._download(url(server, "whole"), tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == DATA


@pytest.mark.parametrize(
    ("kind", "sha", "message"),
    [
        ("whole", OTHER_SHA, "wrong SHA-256"),
        ("cut", SHA, f"ended after {len(DATA) // 2} of {len(DATA)} bytes"),
        ("silent", SHA, "wrong SHA-256"),
        ("missing", SHA, "HTTP 404"),
    ],
)
def test_failure_leaves_nothing(server, tmp_path, kind, sha, message):
    with pytest.raises(RuntimeError, match=message) as caught:
        clip._download(url(server, kind, sha), tmp_path)
    assert url(server, kind, sha) in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_server(server, tmp_path):
    with pytest.raises(RuntimeError, match="cannot download http://127.0.0.1:1/"):
        clip._download(f"http://127.0.0.1:1/whole/{SHA}/model.pt", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_address_without_hash_is_refused(tmp_path):
    with pytest.raises(ValueError, match="SHA256/FILENAME"):
        clip._download("http://127.0.0.1:1/model.pt", tmp_path)


def test_folder_in_the_way(server, tmp_path):
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(RuntimeError, match="not a regular file"):
        clip._download(url(server, "whole"), tmp_path)


def test_two_at_once(server, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: clip._download(url(server, "whole"), tmp_path), range(2)))
    assert paths == [str(tmp_path / "model.pt")] * 2
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [DATA]


def test_a_models_name_is_downloaded(server, tmp_path, monkeypatch):
    monkeypatch.setitem(clip._MODELS, "ViT-B/16", url(server, "whole"))
    assert resolve("ViT-B/16", tmp_path) == tmp_path / "model.pt"
    assert (tmp_path / "model.pt").read_bytes() == DATA
