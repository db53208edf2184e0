"""The command line, the user's own archives, whole copies of datasets, and the table."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torchvision.datasets as tv
import yaml

import clip
import datasets
from clip.download import DEFAULT_ROOT
from commands import prepare as command
from dassl.data.datasets import DATASET_REGISTRY
from datasets.prepare import asked, sources
from datasets.prepare.verify import names_digest

REAL = sources.load()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["OxfordPet"], "error: there is no dataset 'OxfordPet': did you mean OxfordPets? python mmrl.py prepare --l"),
        (["imagefolder"], "error: imagefolder is your own data: there is nothing to fetch or to compare it with"),
        (["clip:vit-b/16"], "error: there is no dataset 'clip:vit-b/16': did you mean clip:ViT-B/16? python"),
        (["Food101", "--archive", "no.zip"], "error: --archive no.zip: there is no such file"),
        (["clip:RN50", "--archive", __file__], f"error: --archive {__file__}: it cannot be told which dataset it is"),
        (["EuroSAT", "Food101", "--archive", __file__], f"error: --archive {__file__}: it cannot be told which"),
    ],
)
def test_bad_input(arguments, line, prepare, tmp_path):
    run = prepare(*arguments, "--root", tmp_path)
    assert run.status == 1 and run.out == [] and len(run.errors) == 1 and run.errors[0].startswith(line)


@pytest.mark.parametrize("arguments", [[], ["EuroSAT", "--verify", "--archive", "x"], ["EuroSAT", "--frobnicate"]])
def test_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2 and "usage: python mmrl.py prepare" in capsys.readouterr().err


def test_root_that_cannot_be_made(prepare, tmp_path):
    (tmp_path / "file").write_text("")
    run = prepare("EuroSAT", "--root", tmp_path / "file/data")
    assert run.status == 1 and run.errors == [
        f"error: EuroSAT: [Errno 20] Not a directory: '{tmp_path}/file/data/.downloads/EuroSAT'"
    ]


def test_list_names_everything(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "eurosat").mkdir()
    assert command.main(["--list", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*REAL.datasets, *(f"clip:{name}" for name in REAL.weights)]
    assert "EuroSAT              present     10 classes        13500/5400/8100 images   EuroSAT.zip 94.3 MB" in lines[9]


def test_one_failure_does_not_stop_the_others(server, prepare, tmp_path):
    server.dead = ["EuroSAT.zip", "eurosat.zip"]
    run = prepare("eurosat", "food101", "--root", tmp_path)
    assert run.status == 1 and len(run.errors) == 1 and run.out[-2] == f"Food101: complete in {tmp_path}/food-101"


def test_own_archive_in_place_of_a_download(server, prepare, tmp_path):
    server.dead = ["EuroSAT.zip"]
    own = tmp_path / "EuroSAT.zip"
    own.write_bytes(b"damaged")
    root = tmp_path / "root"
    run = prepare("EuroSAT", "--root", root, "--archive", own)
    size = len(server.files["EuroSAT/EuroSAT.zip"])
    assert run.errors == [
        f"error: EuroSAT: {own} has 7 bytes instead of {size}: it is damaged or another version; "
        "move it away and fetch it again"
    ]
    own.write_bytes(server.files["EuroSAT/EuroSAT.zip"])
    split = tmp_path / "split_zhou_EuroSAT.json"
    split.write_bytes(server.files["EuroSAT/split_zhou_EuroSAT.json"])
    server.requests.clear()
    assert prepare("EuroSAT", "--root", root, "--archive", own, split).status == 0
    assert own.is_file() and split.is_file() and not server.requests


@pytest.fixture
def whole_copy(server, pack_zip):
    """``whole_copy(folder)``: a dataset as people share it, one folder for all, doubled folders, a split of its own."""
    return lambda folder: pack_zip(shared_files(server, folder))


def shared_files(server, folder):
    files = {}
    for part in ("cars_train", "cars_test"):
        for path in (server.trees / "StanfordCars/stanford_cars" / part).iterdir():
            files[f"{folder}/{part}/{part}/{path.name}"] = path.read_bytes()
    return {**files, f"{folder}/split_zhou_StanfordCars.json": b"{}", "__MACOSX/cars_train/._1.jpg": b"-"}


def test_whole_copy_of_the_mirror(server, prepare, whole_copy, load, published, tmp_path, monkeypatch):
    server.dead = [".tgz"]
    monkeypatch.setitem(server.files, "StanfordCars/stanford_cars.zip", whole_copy("stanford_cars"))
    run = prepare("StanfordCars", "--root", tmp_path)
    assert run.status == 0 and len(server.asked("stanford_cars.zip")) == 1
    lists = published("StanfordCars")
    assert load("StanfordCars", tmp_path) == [lists[part] for part in ("train", "val", "test")]


def test_whole_copy_of_the_user(server, prepare, whole_copy, pack_zip, tmp_path):
    own = tmp_path / "archive (1).zip"
    own.write_bytes(whole_copy("archive"))
    server.dead = [".tgz"]
    assert prepare("StanfordCars", "--root", tmp_path / "a", "--archive", own).status == 0
    own.write_bytes(pack_zip({"readme": b"-"}))
    run = prepare("StanfordCars", "--root", tmp_path / "b", "--archive", own)
    assert run.status == 1 and run.errors[0].startswith(
        f"error: StanfordCars: {own} holds nothing that StanfordCars needs: its parts are cars_train, cars_test, split"
    )


def test_interrupt(server, tmp_path):
    program = f"""
        import os, signal, sys
        from pathlib import Path
        from commands.prepare import main
        from datasets.prepare import fetch
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        fetch.time.sleep = lambda seconds: os.kill(os.getpid(), signal.SIGINT)
        sys.exit(main(["Food101", "--root", {str(tmp_path)!r}], Path({str(server.table)!r})))
    """
    server.cuts["/Food101/0/food-101.tar.gz"] = [100]
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert child.returncode == 130
    assert child.stderr.splitlines()[-1].startswith("error: interrupted: what was downloaded is kept")
    assert (tmp_path / ".downloads/Food101/food-101.tar.gz.incomplete").stat().st_size == 100


def test_the_table_and_the_loaders_agree():
    datasets.load_all()
    assert list(REAL.datasets) == [name for name in datasets.NAMES if name not in datasets.OWN]
    for name, entry in REAL.datasets.items():
        loader = DATASET_REGISTRY.get(name)
        assert (entry.folder, entry.images) == (loader.folder, loader.images), name
        assert entry.counts and (entry.parts or name in datasets.WRITTEN)
        needed = {give for part in entry.parts for give in part.gives}
        assert {path.split("/")[0] for path in getattr(loader, "annotations", ())} <= needed, name
        files = [source.file for part in entry.parts for source in part.sources] + [s.file for s in entry.whole]
        assert len(files) == len(set(files)), name
        assert (entry.split is None) == (name in (*datasets.WRITTEN, "FGVCAircraft") or name.startswith("ImageNet")), (
            name
        )
        assert entry.split is None or entry.split.digest and len(entry.split.urls) == 3


def test_the_table_and_torchvision_agree():
    """Where torchvision downloads and checks a set, the same addresses and hashes are used, but resumable."""
    flowers = tv.Flowers102
    theirs = {
        "OxfordPets": tv.OxfordIIITPet._RESOURCES,
        "OxfordFlowers": [(flowers._download_url_prefix + f, md5) for f, md5 in flowers._file_dict.values()][:2],
        "Food101": [(tv.Food101._URL, tv.Food101._MD5)],
        "FGVCAircraft": [(tv.FGVCAircraft._URL, None)],
        "SUN397": [(tv.SUN397._DATASET_URL, tv.SUN397._DATASET_MD5)],
        "DescribableTextures": [(tv.DTD._URL, tv.DTD._MD5)],
    }
    for name, files in theirs.items():
        ours = {url: source.md5 for source in REAL.datasets[name].archives.values() for url in source.urls}
        assert {url: md5 or ours[url] for url, md5 in files}.items() <= ours.items(), name


def test_the_table_and_clip_agree():
    assert list(REAL.weights) == list(clip._MODELS) and asked.WEIGHTS_FOLDER == DEFAULT_ROOT
    for name, source in REAL.weights.items():
        assert source.urls[0] == clip._MODELS[name] and source.sha256 in source.urls[1]


def test_wordnet_ids():
    from open_clip import IMAGENET_CLASSNAMES

    names = dict(zip(REAL.marked(), IMAGENET_CLASSNAMES, strict=True))
    assert names_digest(names.values()) == "02f159a1661b0cf5"
    for mark, ids, called in (
        ("A", "8887d49f740ddb4c", "17f1dde8499ff450"),
        ("R", "dd62e9413ab14ffe", "36c4dbd94e26d5c5"),
    ):
        assert names_digest(REAL.marked(mark)) == ids
        assert names_digest(names[wnid] for wnid in REAL.marked(mark)) == called


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "sources.yaml: EuroSAT: .*'colour'"),
        ({"md5": "abc"}, "sources.yaml: EuroSAT: EuroSAT.zip: md5 must be 32 hexadecimal digits, got 'abc'"),
        ({"urls": ["ftp://x"]}, "EuroSAT.zip: 'ftp://x' starts with neither http, https, gdrive: nor a prefix"),
    ],
)
def test_mistakes_in_the_table(change, message, tmp_path):
    table = yaml.safe_load(sources.TABLE.read_text(encoding="utf-8"))
    table["datasets"]["EuroSAT"]["parts"][0]["sources"][0] |= change
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump(table))
    (tmp_path / "imagenet_wnids.txt").write_text("n01440764\n")
    with pytest.raises(ValueError, match=message):
        sources.load(tmp_path / "sources.yaml")


def test_changed_names_in_open_clip_are_fetched(server, prepare, tmp_path, monkeypatch):
    path = "imagenet-rendition/classnames.txt"
    assert prepare("ImageNetR", "--root", tmp_path / "a").status == 0
    monkeypatch.setattr("open_clip.IMAGENET_CLASSNAMES", ["cock"] * 1000)
    server.dead = ["gdrive"]
    run = prepare("ImageNetR", "--root", tmp_path / "b")
    assert run.status == 1 and "classnames.txt cannot be had: gdrive:" in run.errors[0]
    assert run.errors[0].endswith(f"; put CoOp's to {tmp_path}/b/{path}") and not (tmp_path / "b" / path).exists()
    server.dead = []
    monkeypatch.setitem(server.files, "classnames.txt", (tmp_path / "a" / path).read_bytes())
    assert prepare("ImageNetR", "--root", tmp_path / "b").status == 0
    assert (tmp_path / "b" / path).read_bytes() == (tmp_path / "a" / path).read_bytes()
