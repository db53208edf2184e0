"""A server on this machine that holds all datasets, tiny but packed as they are published, and a table of it."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import io
import json
import re
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import yaml
from scipy.io import savemat

import datasets
from commands.prepare import main
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from datasets.prepare import fetch, sources
from datasets.prepare.verify import names_digest

_SPEC = importlib.util.spec_from_file_location("tiny_trees", Path(__file__).parent.parent / "datasets/conftest.py")
trees = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(trees)

WNIDS = sources.load().wnids
PARTS = ("train_x", "val", "test")
ADDRESS = "http://mirror"  # in the packed table, for that of a worker's server
VAL_TRUTH = [7, 3, *range(8, 1001), 1, 2, 4, 5, 6]  # some permutation of the development kit's class numbers


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths are ``/dataset/number of the URL/file``. Understands ranges as web servers do."""

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        content = server.files.get(self.path.split("/")[1] + "/" + self.path.split("/")[-1])
        request = SimpleNamespace(path=self.path, range=wanted, sent=0)
        server.requests.append(request)
        if content is None or any(fault in self.path for fault in server.dead):
            self.send_error(404)
            return
        start, tag = 0, f'"{hashlib.md5(content).hexdigest()}"'
        fits = self.headers.get("If-Range") in (None, tag)
        if wanted and fits and self.path not in server.rangeless:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = server.cuts.get(self.path, [])
        body = content[start : cut.pop(0)] if cut else content[start:]
        request.sent = len(body)
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep the test's output clean."""


class Server(http.server.ThreadingHTTPServer):
    """``files``: contents; ``dead``: parts of paths that are not found; ``cuts``: where answers end, in order."""

    daemon_threads = True

    def reset(self):
        self.requests, self.dead, self.cuts, self.rangeless = [], [], {}, set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self, file):
        return [request for request in self.requests if request.path.endswith(file)]


@pytest.fixture(scope="session")
def mirror(shared, tmp_path_factory):
    """The server with every archive, and the table that leads to it; all workers serve the same files."""
    datasets.load_all()
    packed, home = shared("mirror", pack_all), tmp_path_factory.mktemp("mirror")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.reset()
        server.files, server.trees = contents(packed / "files"), packed / "trees"
        server.table = home / "sources.yaml"
        server.table.write_text((packed / "sources.yaml").read_text().replace(ADDRESS, server.url))
        shutil.copy(sources.TABLE.with_name("imagenet_wnids.txt"), home)
        table = sources.load(server.table)
        server.ids = {table.classnames.urls[0].removeprefix(sources.DRIVE): "classnames.txt"}
        for name, entry in table.datasets.items():
            for file, source in entry.archives.items():
                ids = [url.removeprefix(sources.DRIVE) for url in source.urls if "://" not in url]
                server.ids |= dict.fromkeys(ids, f"{name}/{file}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def pack_all(home):
    """Fill ``trees`` with tiny datasets, ``files`` with their archives, and a table that finds those at ADDRESS."""
    table = yaml.safe_load(sources.TABLE.read_text(encoding="utf-8"))
    packed = {"clip": {"ViT-B-16.pt": b"weights" * 1000}}
    redirect(table["weights"]["ViT-B/16"], "clip", packed["clip"])
    for name in PACK:
        facts = plant(name, home / "trees" / name)
        files = packed[name] = {**facts.pop("extra", {}), **PACK[name](home / "trees" / name)}
        table["datasets"][name] |= facts
        for part in table["datasets"][name]["parts"]:
            for source in filter(None, [*part["sources"], part.get("devkit")]):
                redirect(source, name, files)
        for source in table["datasets"][name].get("whole", []):
            redirect(source, name, {})
    for name, files in packed.items():
        (home / "files" / name).mkdir(parents=True)
        for file, content in files.items():
            (home / "files" / name / file).write_bytes(content)
    (home / "sources.yaml").write_text(yaml.safe_dump(table))


@pytest.fixture
def server(mirror, monkeypatch):
    """The server, all well; Google Drive gives what the table's ids stand for from the same files."""
    mirror.reset()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "RETRY_SECONDS", 0.0)

    def download(id, output, **options):
        mirror.requests.append(SimpleNamespace(path=f"gdrive:{id}", range=None))
        if any(fault in f"gdrive:{id}" for fault in mirror.dead):
            raise requests.ConnectionError(f"Drive does not answer for {id}")
        Path(output).write_bytes(mirror.files[mirror.ids[id]])
        return output

    monkeypatch.setattr("gdown.download", download)
    return mirror


@pytest.fixture
def prepare(server, capsys):
    """``prepare(args...)``: exit status, standard output, standard error without progress bars."""

    def run(*args):
        status = main([str(arg) for arg in args], server.table)
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out.splitlines(), errors=re.findall("error: .*", err))

    return run


@pytest.fixture(scope="session")
def load():
    """``load(name, root)``: the three lists of the real loader, as paths in the image root, labels and names."""
    return load_lists


def load_lists(name, root):
    cfg = get_cfg_default()
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES, cfg.SEED = str(root), -1, "all", 1
    loader = DATASET_REGISTRY.get(name)(cfg)
    start = len(loader.image_dir) + 1
    return [[[d.impath[start:], d.label, d.classname] for d in getattr(loader, part) or []] for part in PARTS]


def redirect(source, name, files):
    """Let a source of the table lead to the server, with the size and the hashes of what is there."""
    urls = source.get("urls", [])
    source["urls"] = [
        u if u.startswith("gdrive") else f"{ADDRESS}/{name}/{i}/{source['file']}" for i, u in enumerate(urls)
    ]
    content = files.get(source["file"])
    sums = {} if content is None else digests(content)
    for key in ("size", "sha256", "md5", "blob"):
        if key in source:
            source[key] = sums.get(key, source[key])


def digests(content):
    return {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
        "blob": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
    }


def plant(name, root):
    """Make a tiny dataset in its layout; returns what the table says of it, and its split file in ``extra``."""
    {**trees.TREES, **IMAGENETS}[name](root)
    for path in root.rglob("*"):
        if path.is_file() and not path.stat().st_size:
            path.write_bytes(b"\xff\xd8" + str(path.relative_to(root)).encode())
    if name in IMAGENETS:
        total = 200 if name in ("ImageNetA", "ImageNetR") else 1000
        facts = {"counts": [total if name == "ImageNet" else 0, 0, total]}
        return {**facts, "per_class": 1} if name in ("ImageNet", "ImageNetV2") else facts
    lists = load_lists(name, root)
    names = dict((label, classname) for _, label, classname in lists[0])
    facts = {"classes": len(names), "counts": [len(part) for part in lists]}
    split = next(root.glob("*/split_zhou_*.json"), None)
    if split:
        facts |= {"names": names_digest(names[label] for label in sorted(names))}
        facts |= {"extra": {split.name: split.read_bytes()}}
        split.unlink()
    return facts


def class_folders(folder, names):
    trees.touch_files(folder, [f"{name}/{name}_1.JPEG" for name in names])


def marked(mark):
    return [wnid for wnid, marks in WNIDS.items() if mark in marks]


def imagenet(root):
    class_folders(root / "imagenet/images/train", WNIDS)
    images = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 1001)]
    wnids = sorted(WNIDS)
    trees.touch_files(
        root / "imagenet/images/val", [f"{wnids[n - 1]}/{i}" for n, i in zip(VAL_TRUTH, images, strict=True)]
    )


V2 = "imagenetv2/imagenetv2-matched-frequency-format-val"
IMAGENETS = {
    "ImageNet": imagenet,
    "ImageNetV2": lambda root: trees.touch_files(root / V2, [f"{n}/{i}.jpeg" for n in range(1000) for i in range(1)]),
    "ImageNetSketch": lambda root: class_folders(root / "imagenet-sketch/images", WNIDS),
    "ImageNetA": lambda root: class_folders(root / "imagenet-adversarial/imagenet-a", marked("A")),
    "ImageNetR": lambda root: class_folders(root / "imagenet-rendition/imagenet-r", marked("R")),
}


def contents(folder, prefix=""):
    """Files of a folder as ``{prefix/path: bytes}``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}


def tar(members, mode="w"):
    """A tar archive of ``{name: bytes or a ready TarInfo}``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, bufsize=2560) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tgz(members):
    return tar(members, "w:gz")


def zipped(members):
    """A zip archive of ``{name: bytes}``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.fixture(scope="session")
def pack_zip():
    """``pack_zip({name: bytes})``: a zip archive."""
    return zipped


def pack_caltech101(root):
    categories = tgz(contents(root / "caltech-101", ""))
    members = {"caltech-101/Annotations.tar": tar({"Annotations/a.mat": b"-"}), "__MACOSX/._101_ObjectCategories": b"-"}
    return {"caltech-101.zip": zipped({**members, "caltech-101/101_ObjectCategories.tar.gz": categories})}


def pack_pets(root):
    images = {**contents(root / "oxford_pets/images", "images/"), "images/Abyssinian_100.mat": b"-"}
    lists = {**contents(root / "oxford_pets/annotations", "annotations/"), "annotations/trimaps/._a.png": b"-"}
    return {"images.tar.gz": tgz(images), "annotations.tar.gz": tgz({**lists, "annotations/list.txt": b"#\n"})}


def pack_cars(root):
    cars = root / "stanford_cars"
    name = "cars_test_annos_withlabels.mat"
    devkit = {**contents(cars / "devkit", "devkit/"), "devkit/README.txt": b"-", "devkit/eval_train.m": b"-"}
    images = {f"{part}.tgz": tgz(contents(cars / part, f"{part}/")) for part in ("cars_train", "cars_test")}
    return {**images, "car_devkit.tgz": tgz(devkit), name: (cars / name).read_bytes()}


def pack_flowers(root):
    flowers = root / "oxford_flowers"
    return {
        "102flowers.tgz": tgz(contents(flowers / "jpg", "jpg/")),
        "imagelabels.mat": (flowers / "imagelabels.mat").read_bytes(),
        "cat_to_name.json": (flowers / "cat_to_name.json").read_bytes(),
    }


def pack_food(root):
    meta = {"food-101/README.txt": b"-", "food-101/meta/classes.txt": b"apple_pie\n"}
    return {"food-101.tar.gz": tgz({**contents(root / "food-101", "food-101/"), **meta})}


def pack_aircraft(root):
    data = contents(root / "fgvc_aircraft", "fgvc-aircraft-2013b/data/")
    others = {"fgvc-aircraft-2013b/README.md": b"-", "fgvc-aircraft-2013b/data/families.txt": b"-"}
    return {"fgvc-aircraft-2013b.tar.gz": tgz({**others, **data})}


def pack_sun(root):
    sun = root / "sun397"
    images = {**contents(sun / "SUN397", "SUN397/"), "SUN397/README.txt": b"-", "SUN397/a/abbey/unlisted.jpg": b"-"}
    lists = {path.name: path.read_bytes() for path in sun.glob("*.txt")}
    return {"SUN397.tar.gz": tgz(images), "Partitions.zip": zipped({**lists, "Training_02.txt": b"-"})}


def pack_dtd(root):
    others = {"dtd/imdb/imdb.mat": b"-", "dtd/labels/train1.txt": b"banded/image_0000.jpg\n"}
    return {"dtd-r1.0.1.tar.gz": tgz({**contents(root / "dtd", "dtd/"), **others})}


def pack_eurosat(root):
    return {"EuroSAT.zip": zipped(contents(root / "eurosat"))}


def pack_ucf(root):
    ucf = root / "ucf101"
    return {
        "UCF-101-midframes.zip": zipped(contents(ucf / "UCF-101-midframes", "UCF-101-midframes/")),
        "UCF101TrainTestSplits-RecognitionTask.zip": zipped(contents(ucf / "ucfTrainTestlist", "ucfTrainTestlist/")),
    }


def pack_imagenet(root):
    images = root / "imagenet/images"
    train = {f"{folder.name}.tar": tar(contents(folder)) for folder in sorted((images / "train").iterdir())}
    val = {path.name: path.read_bytes() for path in sorted((images / "val").rglob("*.JPEG"))}
    return {
        "ILSVRC2012_img_train.tar": tar(train),
        "ILSVRC2012_img_val.tar": tar(dict(sorted(val.items()))),
        "ILSVRC2012_devkit_t12.tar.gz": tgz(devkit()),
    }


def devkit():
    """The development kit: classes 1 to 1000 and, after them, inner nodes of WordNet."""
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height"]
    synsets = np.zeros((1002, 1), dtype=[(field, object) for field in fields])
    for position, wnid in enumerate([*sorted(WNIDS), "n00001740", "n00001930"]):
        synsets[position, 0] = (position + 1, wnid, "words", "gloss", 2 * (position > 999), np.array([1, 2]), 0)
    out = io.BytesIO()
    savemat(out, {"synsets": synsets})
    base = "ILSVRC2012_devkit_t12"
    truth = "".join(f"{number}\n" for number in VAL_TRUTH).encode()
    return {
        f"{base}/readme.txt": b"-",
        f"{base}/data/meta.mat": out.getvalue(),
        f"{base}/data/ILSVRC2012_validation_ground_truth.txt": truth,
    }


def pack_v2(root):
    # Called .gz but not compressed, and the inner folder has the older name.
    old = "imagenet-matched-frequency-format-val/"
    return {"imagenetv2-matched-frequency.tar.gz": tar(contents(root / V2, old))}


PACK = {
    "ImageNet": pack_imagenet,
    "Caltech101": pack_caltech101,
    "OxfordPets": pack_pets,
    "StanfordCars": pack_cars,
    "OxfordFlowers": pack_flowers,
    "Food101": pack_food,
    "FGVCAircraft": pack_aircraft,
    "SUN397": pack_sun,
    "DescribableTextures": pack_dtd,
    "EuroSAT": pack_eurosat,
    "UCF101": pack_ucf,
    "ImageNetV2": pack_v2,
    "ImageNetSketch": lambda root: {
        "ImageNet-Sketch.zip": zipped(contents(root / "imagenet-sketch/images", "sketch/"))
    },
    "ImageNetA": lambda root: {
        "imagenet-a.tar": tar({"imagenet-a/README.txt": b"-", **contents(root / "imagenet-adversarial")})
    },
    "ImageNetR": lambda root: {
        "imagenet-r.tar": tar({"imagenet-r/README.txt": b"-", **contents(root / "imagenet-rendition")})
    },
}


@pytest.fixture(scope="session")
def published(mirror):
    """``published(name)``: the split of a dataset as the server holds it."""
    return lambda name: json.loads(mirror.files[f"{name}/split_zhou_{name}.json"])
