"""Hostile and damaged archives: refused with the member's name, and nothing is written outside."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest

from datasets.prepare import unpack as unpacking
from datasets.prepare.unpack import unpack

GOOD = {"a/good.jpg": b"good"}


def special(kind, link=""):
    info = tarfile.TarInfo("set later")
    info.type, info.linkname = kind, link
    return info


def tar(members, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in {**GOOD, **members}.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if content is info:
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(members, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, content in {**GOOD, **members}.items():
            kind, text = content if isinstance(content, tuple) else (stat.S_IFREG, content)
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = archive.compression
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, text)
    return out.getvalue()


REFUSED_TAR = {
    "climbing": ({"../evil": b"x"}, "'../evil' leads outside"),
    "climbing later": ({"a/../../evil": b"x"}, "'a/../../evil' leads outside"),
    "absolute": ({"/tmp/evil": b"x"}, "'/tmp/evil' is an absolute or foreign path"),
    "drive": ({"C:evil": b"x"}, "'C:evil' is an absolute or foreign path"),
    "backslashes": ({"..\\evil": b"x"}, "is an absolute or foreign path"),
    "link out": ({"a/l": special(tarfile.SYMTYPE, "../../evil")}, "'a/l -> ../../evil' leads outside"),
    "absolute link": ({"a/l": special(tarfile.SYMTYPE, "/etc/passwd")}, "'a/l -> /etc/passwd' is an absolute"),
    "hard link out": ({"a/l": special(tarfile.LNKTYPE, "../evil")}, "'a/l -> ../evil' leads outside"),
    "link to nothing": ({"a/l": special(tarfile.SYMTYPE, "none")}, "'a/l -> none' names no file of the archive"),
    "link to a folder": ({"l": special(tarfile.SYMTYPE, "a"), "l/x": b"x"}, "'l -> a' names no file"),
    "device": ({"dev": special(tarfile.CHRTYPE)}, "'dev' is a device or pipe"),
    "pipe": ({"pipe": special(tarfile.FIFOTYPE)}, "'pipe' is a device or pipe"),
}
REFUSED_ZIP = {
    "climbing": ({"../evil": b"x"}, "'../evil' leads outside"),
    "absolute": ({"/tmp/evil": b"x"}, "'/tmp/evil' is an absolute or foreign path"),
    "drive": ({"C:/evil": b"x"}, "'C:/evil' is an absolute or foreign path"),
    "backslashes": ({"..\\evil": b"x"}, "is an absolute or foreign path"),
    "link out": ({"a/l": (stat.S_IFLNK, "../../evil")}, "'a/l -> ../../evil' leads outside"),
    "absolute link": ({"a/l": (stat.S_IFLNK, "/etc/passwd")}, "'a/l -> /etc/passwd' is an absolute"),
    "device": ({"dev": (stat.S_IFCHR, b"")}, "'dev' is a device or pipe"),
    "pipe": ({"pipe": (stat.S_IFIFO, b"")}, "'pipe' is a device or pipe"),
}
CASES = [
    *((f"tar {name}", tar(members), message) for name, (members, message) in REFUSED_TAR.items()),
    *((f"zip {name}", zipped(members), message) for name, (members, message) in REFUSED_ZIP.items()),
]


def attempt(content, tmp_path, inner=None):
    """Unpack into ``box/in``; ``box`` must hold nothing else afterwards. Returns the unpacked files."""
    archive, box = tmp_path / "archive", tmp_path / "box"
    archive.write_bytes(content)
    box.mkdir(exist_ok=True)
    try:
        unpack(archive, box / "in", inner)
    finally:
        assert [path.name for path in box.iterdir()] == ["in"]
        assert not any(path.is_symlink() for path in box.rglob("*"))
    return {str(path.relative_to(box / "in")): path.read_bytes() for path in box.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused(content, message, tmp_path):
    with pytest.raises(ValueError) as caught:
        attempt(content, tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/archive is refused: ") and message in text and "\n" not in text


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_links_inside_become_copies(mode, tmp_path):
    links = {"b/s": special(tarfile.SYMTYPE, "../a/good.jpg"), "b/h": special(tarfile.LNKTYPE, "a/good.jpg")}
    files = attempt(tar({**links, "./c": b"c"}, mode), tmp_path)
    assert files == {**GOOD, "b/s": b"good", "b/h": b"good", "c": b"c"}
    assert (tmp_path / "box/in/b/h").stat().st_nlink == 1


def test_zip_with_a_link_inside(tmp_path):
    assert attempt(zipped({"a/l": (stat.S_IFLNK, "good.jpg")}), tmp_path) == {**GOOD, "a/l": b"good"}


@pytest.mark.parametrize("pack", [tar, zipped])
def test_archives_inside(pack, tmp_path):
    content = pack({"n01.tar": tar({"x": b"x"}, "w"), "other.tar": b"-"})
    files = attempt(content, tmp_path, inner="n*.tar")
    assert files == {**GOOD, "n01/x": b"x", "n01/a/good.jpg": b"good", "other.tar": b"-"}
    with pytest.raises(ValueError, match="'../evil' leads outside"):
        attempt(pack({"n01.tar": tar({"../evil": b"x"}, "w")}), tmp_path, inner="n*.tar")


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1000)
    zeros = bytes(3_000_000)
    for content in (tar({"bomb": zeros}), zipped({"bomb": zeros}, compression=zipfile.ZIP_DEFLATED)):
        with pytest.raises(ValueError, match="at 'bomb' it has grown to more than [0-9]+ bytes"):
            attempt(content, tmp_path)
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    with pytest.raises(ValueError, match="it has more than 3 members"):
        attempt(tar({str(i): b"" for i in range(5)}), tmp_path)


def test_encrypted(tmp_path):
    content = bytearray(zipped({}))
    content[content.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(ValueError, match="'a/good.jpg' is encrypted"):
        attempt(bytes(content), tmp_path)


def test_damaged(tmp_path):
    noise = bytes(i * i % 251 for i in range(200_000))
    for whole in (tar({"noise": noise}), tar({"noise": noise}, "w"), zipped({"noise": noise}), b"<html>" * 1000, b""):
        damaged = whole[: len(whole) // 2]
        with pytest.raises(ValueError, match="archive is damaged or no archive .*: move it away and fetch it again"):
            attempt(damaged, tmp_path)
    flipped = bytearray(zipped({"noise": noise}))
    flipped[100_000] ^= 1
    with pytest.raises(ValueError, match="is damaged or no archive .*CRC"):
        attempt(bytes(flipped), tmp_path)


@pytest.mark.parametrize("members", [{"a": b"x"}, {"a/good.jpg/x": b"x"}])
def test_a_file_where_a_folder_is(members, tmp_path):
    for pack in (tar, zipped):
        with pytest.raises(ValueError, match="is damaged or no archive"):
            attempt(pack(members), tmp_path)


def test_a_hostile_mirror_changes_nothing(server, prepare, tmp_path, monkeypatch):
    hostile = zipped({"../../evil": b"x", "UCF-101-midframes/a.jpg": b"x"})
    with monkeypatch.context() as patch:
        patch.setitem(server.files, "UCF101/UCF-101-midframes.zip", hostile)
        run = prepare("UCF101", "--root", tmp_path)
    assert run.status == 1 and "UCF-101-midframes.zip is refused: '../../evil' leads outside" in run.errors[0]
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [".downloads/UCF101/.lock", "ucf101/split_zhou_UCF101.json"]
    assert prepare("UCF101", "--root", tmp_path).status == 0
