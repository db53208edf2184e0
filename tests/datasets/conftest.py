"""Tiny datasets in their real layout, and a builder for loaders."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import datasets
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data_dir():
    return DATA


@pytest.fixture(scope="session")
def build():
    """``build(root, name, shots=-1, seed=1, subset="all", FOLDER=...)``: the loader as a run would build it."""
    datasets.load_all()

    def build_loader(root, name, shots=-1, seed=1, subset="all", **keys):
        cfg = get_cfg_default()
        cfg.DATASET.update(
            {"FOLDER": "", "TABLE": "", "CLASSNAMES": "", "ALL_TRAIN": False} | {k: str(v) for k, v in keys.items()}
        )
        cfg.DATASET.NAME = name
        cfg.DATASET.ROOT = str(root)
        cfg.DATASET.NUM_SHOTS = shots
        cfg.DATASET.SUBSAMPLE_CLASSES = subset
        cfg.SEED = seed
        return DATASET_REGISTRY.get(name)(cfg)

    return build_loader


@pytest.fixture(scope="session")
def rows():
    """``rows(loader, part)``: one list of a loader as ``[path in the image root, label, class name]``."""

    def list_rows(loader, part):
        start = len(loader.image_dir) + 1
        return [[d.impath[start:], d.label, d.classname] for d in getattr(loader, part)]

    return list_rows


@pytest.fixture(scope="session")
def touch():
    """``touch(folder, names)``: empty files, folders made as needed."""
    return touch_files


@pytest.fixture(scope="session")
def written_root(shared, digits_root):
    """``written_root(name)``: a root, to read only, of a dataset that writes itself; all workers have the same."""

    def root_of(name):
        loader = datasets.load(name)
        if name == "Digits":
            return digits_root
        return shared(f"root-{loader.folder}", lambda root: loader.write_once(str(root / loader.folder)))

    return root_of


@pytest.fixture(scope="session")
def make_tree(written_root):
    """``make_tree(name, root)``: a tiny dataset with its original annotations, or links to what was written once."""

    def make(name, root):
        if name not in datasets.WRITTEN:
            return TREES[name](Path(root))
        folder = datasets.load(name).folder
        # As written: other tests have read its lists, and so saved them there.
        unread = shutil.ignore_patterns("split_*")
        shutil.copytree(written_root(name) / folder, Path(root) / folder, ignore=unread, copy_function=os.link)

    return make


@pytest.fixture
def mine(build, rows, touch, tmp_path, capsys):
    """A folder of the user's: ``images`` plants files, ``read`` gives train, val, test and what was said."""

    class Mine:
        path = tmp_path / "mine"

        def images(self, place, classes, count=10):
            touch(self.path / place, [f"{name}/{i:02d}.png" for name in classes for i in range(count)])

        def table(self, lines, name="table.csv"):
            self.path.mkdir(exist_ok=True)
            (self.path / name).write_text("".join(f"{line}\n" for line in lines))

        def loader(self, name="ImageFolder", shots=-1, **keys):
            capsys.readouterr()
            keys = {"FOLDER": "mine", **({"TABLE": "table.csv"} if name == "Table" else {}), **keys}
            return build(tmp_path, name, shots, **keys)

        def read(self, name="ImageFolder", shots=-1, **keys):
            loader = self.loader(name, shots, **keys)
            said = capsys.readouterr().out.splitlines()
            return [rows(loader, part) for part in ("train_x", "val", "test")], said

        def refused(self, message, name="ImageFolder", error=ValueError, **keys):
            with pytest.raises(error) as caught:
                self.loader(name, **keys)
            assert str(caught.value).splitlines() == [message.format(mine=self.path)]

    return Mine()


def touch_files(folder, names):
    made = set()
    for name in names:
        path = f"{folder}/{name}"
        if (parent := path.rpartition("/")[0]) not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        open(path, "ab").close()


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def class_tree(folder, classes, count=10):
    touch_files(folder, [f"{name}/image_{i:04d}.jpg" for name in classes for i in range(count)])


def caltech101(root):
    classes = ["BACKGROUND_Google", "Faces", "Faces_easy", "Leopards", "accordion", "airplanes"]
    class_tree(root / "caltech-101/101_ObjectCategories", classes)
    touch_files(root / "caltech-101/101_ObjectCategories", [".DS_Store", "accordion/.hidden"])


def food101(root):
    class_tree(root / "food-101/images", ["apple_pie", "beef_tartare"])


def dtd(root):
    class_tree(root / "dtd/images", ["banded", "blotchy", "braided", "bubbly"], count=12)


def eurosat(root):
    class_tree(root / "eurosat/2750", ["AnnualCrop", "Forest", "SeaLake"])


def oxford_pets(root):
    folder = root / "oxford_pets"
    pets = [("Abyssinian", 1, 1, 1), ("american_bulldog", 2, 2, 1), ("Bombay", 3, 1, 2)]
    lines = {
        "trainval": [f"{p}_{i} {c} {s} {b}" for p, c, s, b in pets for i in range(5)],
        "test": [f"{p}_{i} {c} {s} {b}" for p, c, s, b in pets for i in range(100, 104)],
    }
    for part, part_lines in lines.items():
        write(folder / f"annotations/{part}.txt", part_lines)
        touch_files(folder / "images", [line.split()[0] + ".jpg" for line in part_lines])


def stanford_cars(root):
    folder = root / "stanford_cars"
    names = ["AM General Hummer SUV 2000", "Audi TTS Coupe 2012", "Ram C/V Cargo Van Minivan 2012"]
    save_cell(folder / "devkit/cars_meta.mat", "class_names", names)
    save_cars(folder / "devkit/cars_train_annos.mat", [2, 1, 3] * 5)
    save_cars(folder / "cars_test_annos_withlabels.mat", [3, 2, 1, 1])
    touch_files(folder / "cars_train", [f"{i:05d}.jpg" for i in range(1, 16)])
    touch_files(folder / "cars_test", [f"{i:05d}.jpg" for i in range(1, 5)])


def save_cell(path, key, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = np.empty((1, len(texts)), dtype=object)
    cell[0, :] = texts
    savemat(path, {key: cell})


def save_cars(path, classes):
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    entries = np.zeros((1, len(classes)), dtype=[(field, object) for field in fields])
    for position, number in enumerate(classes):
        entries[0, position] = (1, 2, 30, 40, number, f"{position + 1:05d}.jpg")
    savemat(path, {"annotations": entries})


def oxford_flowers(root):
    folder = root / "oxford_flowers"
    labels = [3] * 10 + [1] * 10 + [2] * 10 + [3] * 4
    touch_files(folder / "jpg", [f"image_{i:05d}.jpg" for i in range(1, len(labels) + 1)])
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    names = {"1": "pink primrose", "2": "hard-leaved pocket orchid", "3": "canterbury bells"}
    (folder / "cat_to_name.json").write_text(json.dumps(names))


def fgvc_aircraft(root):
    folder = root / "fgvc_aircraft"
    variants = ["707-320", "F/A-18", "DHC-8 100"]
    write(folder / "variants.txt", variants)
    for start, part in ((0, "train"), (3000, "val"), (6000, "test")):
        lines = [f"{start + 10 * v + i:07d} {name}" for i in range(3) for v, name in enumerate(variants)]
        write(folder / f"images_variant_{part}.txt", lines)
        touch_files(folder / "images", [line.split()[0] + ".jpg" for line in lines])


def sun397(root):
    folder = root / "sun397"
    scenes = ["/a/abbey", "/a/apse/indoor", "/w/wine_cellar/barrel_storage"]
    write(folder / "ClassName.txt", scenes)
    for part, count in (("Training", 5), ("Testing", 3)):
        images = [f"{scene}/sun_{part}{i}.jpg" for scene in scenes for i in range(count)]
        write(folder / f"{part}_01.txt", images)
        touch_files(folder / "SUN397", [image[1:] for image in images])


def ucf101(root):
    folder = root / "ucf101"
    actions = {"ApplyEyeMakeup": "Apply_Eye_Makeup", "HandstandPushups": "Handstand_Pushups", "YoYo": "Yo_Yo"}
    write(folder / "ucfTrainTestlist/classInd.txt", [f"{i} {a}" for i, a in enumerate(actions, 1)])
    lines = {"train": [], "test": []}
    for number, (action, name) in enumerate(actions.items(), 1):
        file = f"v_{action}".replace("Handstand", "HandStand")
        for group in range(1, 9):
            part, tail = ("train", f" {number}") if group > 3 else ("test", "")
            lines[part].append(f"{action}/{file}_g{group:02d}_c01.avi{tail}")
            touch_files(folder / "UCF-101-midframes" / name, [f"{file}_g{group:02d}_c01.jpg"])
    for part, part_lines in lines.items():
        write(folder / f"ucfTrainTestlist/{part}list01.txt", part_lines)


WNIDS = {"n01440764": "tench", "n01443537": "goldfish", "n02895154": "missile", "n04008634": "missile"}


def classnames(folder, names=WNIDS):
    write(folder / "classnames.txt", [f"{wnid} {name}" for wnid, name in names.items()])


def imagenet(root):
    classnames(root / "imagenet")
    class_tree(root / "imagenet/images/train", WNIDS, count=6)
    class_tree(root / "imagenet/images/val", WNIDS, count=5)
    touch_files(root / "imagenet/images/train", ["LOC_synset_mapping.txt"])


def imagenetv2(root):
    # Twelve classes: 10 and 11 sort before 2 as text.
    classnames(root / "imagenetv2", {f"n{i:08d}": f"class {i}" for i in range(12)})
    folders = map(str, range(12))
    class_tree(root / "imagenetv2/imagenetv2-matched-frequency-format-val", folders, count=2)


def imagenet_sketch(root):
    classnames(root / "imagenet-sketch")
    class_tree(root / "imagenet-sketch/images", WNIDS, count=3)


def imagenet_a(root):
    classnames(root / "imagenet-adversarial")
    class_tree(root / "imagenet-adversarial/imagenet-a", ["n02895154", "n01443537"], count=3)
    touch_files(root / "imagenet-adversarial/imagenet-a", ["README.txt"])


def imagenet_r(root):
    # No classnames.txt of its own: ImageNet's is taken.
    classnames(root / "imagenet")
    class_tree(root / "imagenet-rendition/imagenet-r", ["n01440764", "n04008634"], count=3)
    touch_files(root / "imagenet-rendition/imagenet-r", ["README.txt"])


TREES = {
    "ImageNet": imagenet,
    "Caltech101": caltech101,
    "OxfordPets": oxford_pets,
    "StanfordCars": stanford_cars,
    "OxfordFlowers": oxford_flowers,
    "Food101": food101,
    "FGVCAircraft": fgvc_aircraft,
    "SUN397": sun397,
    "DescribableTextures": dtd,
    "EuroSAT": eurosat,
    "UCF101": ucf101,
    "ImageNetV2": imagenetv2,
    "ImageNetSketch": imagenet_sketch,
    "ImageNetA": imagenet_a,
    "ImageNetR": imagenet_r,
}
