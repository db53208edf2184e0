"""One clear line for everything that can be wrong with a dataset on disk."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.io import savemat

import datasets
from commands import prepare

TINY = {
    "train": [["a/image_0000.jpg", 0, "a"], ["b/image_0000.jpg", 1, "b"]],
    "val": [],
    "test": [["a/image_0001.jpg", 0, "a"]],
}


@pytest.fixture
def refused(build, tmp_path):
    """``refused(name, error, message)``: building fails with this line (``{root}`` stands for the root)."""

    def check(name, error, message, **settings):
        with pytest.raises(error) as caught:
            build(tmp_path, name, **settings)
        assert str(caught.value).splitlines() == [message.format(root=tmp_path)]

    return check


@pytest.fixture
def split_tree(touch, tmp_path):
    """Two classes of textures, and a writer for their split file."""
    touch(tmp_path / "dtd/images", [f"{c}/image_{i:04d}.jpg" for c in "ab" for i in range(3)])

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "dtd/split_zhou_DescribableTextures.json").write_text(text)

    return write


def run_prepare(config):
    return f"run python mmrl.py prepare {config} --root {{root}}"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_root(build, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        build(tmp_path / "nowhere", "Digits")
    assert str(error.value) == (
        f"dataset root {tmp_path}/nowhere not found: create it, or name the folder of the datasets with --root"
    )
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError) as unset:
        build("", "Digits")
    assert str(unset.value) == "DATASET.ROOT is empty: name the folder of the datasets with --root"


@pytest.mark.parametrize(
    ("name", "folder", "config", "rest"),
    [
        (
            "DescribableTextures",
            "dtd/images",
            "dtd",
            "put its class folders there, and split_zhou_DescribableTextures.json into {root}/dtd",
        ),
        (
            "OxfordPets",
            "oxford_pets/images",
            "oxford_pets",
            "put its images there, and split_zhou_OxfordPets.json or annotations/trainval.txt, annotations/test.txt"
            " into {root}/oxford_pets",
        ),
        (
            "FGVCAircraft",
            "fgvc_aircraft/images",
            "fgvc_aircraft",
            "put its images (the folder around them is the archive's data folder, renamed) there",
        ),
        (
            "ImageNet",
            "imagenet/images",
            "imagenet",
            "put folders train and val, each with one folder of images per WordNet id, there",
        ),
        ("ImageNetA", "imagenet-adversarial/imagenet-a", "imagenet_a", "put its folders, one per WordNet id, there"),
    ],
)
def test_missing_folder(name, folder, config, rest, refused):
    message = f"{name}: {{root}}/{folder} not found: {run_prepare(config)}, or {rest}"
    refused(name, FileNotFoundError, message)


@pytest.mark.parametrize("name", sorted({*datasets.NAMES} - {*datasets.OWN, *datasets.WRITTEN}))
def test_the_command_that_is_named_exists(name, build, tmp_path):
    """What the error of an empty root says can be typed: here with --verify, which fetches nothing."""
    with pytest.raises(FileNotFoundError) as caught:
        build(tmp_path, name)
    command = str(caught.value).partition("python mmrl.py prepare ")[2].partition(",")[0]
    assert prepare.main([*command.split(), "--verify"]) == 1


@pytest.mark.parametrize("name", ["DescribableTextures", "ImageNetR", "Digits"])
def test_unknown_subset(name, refused):
    message = "DATASET.SUBSAMPLE_CLASSES is 'bse': choose all, base or new"
    refused(name, ValueError, message, subset="bse")


def test_missing_images(split_tree, refused):
    extra = [["b/gone.jpg", 1, "b"], ["c/gone.jpg", 1, "b"], ["c/gone too.jpg", 0, "a"]]
    split_tree({**TINY, "test": TINY["test"] + extra})
    message = (
        "DescribableTextures: 3 of 6 images are missing, first {root}/dtd/images/b/gone.jpg:"
        f" {run_prepare('dtd')}, or unpack them again"
    )
    refused("DescribableTextures", FileNotFoundError, message)


def test_derivation_with_missing_images_saves_nothing(make_tree, refused, tmp_path):
    make_tree("OxfordPets", tmp_path)
    (tmp_path / "oxford_pets/images/Bombay_102.jpg").unlink()
    message = (
        "OxfordPets: 1 of 27 images are missing, first {root}/oxford_pets/images/Bombay_102.jpg:"
        f" {run_prepare('oxford_pets')}, or unpack them again"
    )
    refused("OxfordPets", FileNotFoundError, message)
    assert sorted(p.name for p in (tmp_path / "oxford_pets").iterdir()) == ["annotations", "images"]


SPLIT = "{root}/dtd/split_zhou_DescribableTextures.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": [\n["a", 0, "a"]', "{split}, line 2: not valid JSON (Expecting ',' delimiter): fetch it again"),
        ("[]", "{split}: expected a JSON object, got list"),
        ({"train": [], "test": []}, "{split}: expected a list 'val' in it"),
        ({**TINY, "train": []}, "{split}: the train list is empty"),
        ({**TINY, "test": []}, "{split}: the test list is empty"),
        (
            {**TINY, "test": [TINY["test"][0], ["a/image_0002.jpg", "0", "a"]]},
            "{split}, test item 2: expected [path, label from 0, class name], got ['a/image_0002.jpg', '0', 'a']",
        ),
        (
            {**TINY, "val": [["a/image_0002.jpg", -1, "a"]]},
            "{split}, val item 1: expected [path, label from 0, class name], got ['a/image_0002.jpg', -1, 'a']",
        ),
        (
            {**TINY, "train": [["a/image_0000.jpg", 0, "a"], ["b/image_0000.jpg", 2, "b"]]},
            "{split}: no train image has label 1, but labels run to 2",
        ),
        ({**TINY, "test": [["b/image_0001.jpg", 2, "c"]]}, "{split}: label 2 ('c') is in test but not in train"),
        ({**TINY, "test": [["b/image_0001.jpg", 1, "a"]]}, "{split}: label 1 is called both 'b' and 'a'"),
    ],
)
def test_malformed_split(content, message, split_tree, refused):
    split_tree(content)
    refused("DescribableTextures", ValueError, message.replace("{split}", SPLIT))


def test_split_that_is_no_text(split_tree, refused, tmp_path):
    split_tree(TINY)
    (tmp_path / "dtd/split_zhou_DescribableTextures.json").write_bytes(b"\x80\x02}q\x00.")
    refused("DescribableTextures", ValueError, SPLIT + " is not a text file: fetch it again")


def test_one_class_has_no_new_ones(split_tree, refused):
    split_tree({**TINY, "train": TINY["train"][:1]})
    message = (
        "DescribableTextures: base to new needs four classes, two in each half, and the data set has 1: use all of its"
        " classes (scripts/fewshot/fewshot.sh, or TASK FS with DATASET.SUBSAMPLE_CLASSES all)"
    )
    refused("DescribableTextures", ValueError, message, subset="new")


def test_class_folders(refused, touch, tmp_path):
    images = tmp_path / "dtd/images"
    images.mkdir(parents=True)
    message = "{root}/dtd/images holds no class folders: sort its images into one folder per class"
    refused("DescribableTextures", FileNotFoundError, message)
    touch(images, [f"a/{i}.jpg" for i in range(3)])
    message = "class 'a' has 3 images: train, val and test need at least 4"
    refused("DescribableTextures", ValueError, message)
    touch(images, ["a/3.jpg"])
    (images / "b").mkdir()
    message = "class folder {root}/dtd/images/b holds no images: put them there or remove the folder"
    refused("DescribableTextures", FileNotFoundError, message)


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        (
            "OxfordPets",
            "oxford_pets/annotations/trainval.txt",
            "Abyssinian_1 1 1 1",
            "Abyssinian_1 1 1",
            "line 2: expected 'image class species breed', got 'Abyssinian_1 1 1'",
        ),
        (
            "OxfordPets",
            "oxford_pets/annotations/test.txt",
            "Abyssinian_100 1",
            "Abyssinian_100 0",
            "line 1: expected a class number from 1, got '0'",
        ),
        ("FGVCAircraft", "fgvc_aircraft/images_variant_val.txt", "F/A-18", "F/A-19", "line 2: unknown class 'F/A-19'"),
        ("SUN397", "sun397/Testing_01.txt", "/a/abbey/", "/a/alley/", "line 1: unknown class 'a/alley'"),
        ("UCF101", "ucf101/ucfTrainTestlist/trainlist01.txt", "YoYo/", "Yoyo/", "line 11: unknown class 'Yoyo'"),
        (
            "ImageNet",
            "imagenet/classnames.txt",
            "n01443537 goldfish",
            "n01440764 goldfish",
            "line 2: n01440764 comes twice",
        ),
        (
            "ImageNetR",
            "imagenet/classnames.txt",
            "n01443537 goldfish",
            "n01443537",
            "line 2: expected 'wnid name', got 'n01443537'",
        ),
    ],
)
def test_malformed_annotation(name, file, old, new, message, make_tree, refused, tmp_path):
    make_tree(name, tmp_path)
    edit(tmp_path / file, old, new)
    refused(name, ValueError, f"{{root}}/{file}, {message}")


@pytest.mark.parametrize(
    ("name", "file", "remedy"),
    [
        (
            "OxfordPets",
            "oxford_pets/annotations/test.txt",
            "put it there, or the published split_zhou_OxfordPets.json into {root}/oxford_pets",
        ),
        (
            "StanfordCars",
            "stanford_cars/cars_test_annos_withlabels.mat",
            "put it there, or the published split_zhou_StanfordCars.json into {root}/stanford_cars",
        ),
        ("FGVCAircraft", "fgvc_aircraft/variants.txt", "put it there from the dataset's archive"),
    ],
)
def test_missing_annotation(name, file, remedy, make_tree, refused, tmp_path):
    make_tree(name, tmp_path)
    (tmp_path / file).unlink()
    config = file.split("/")[0]
    refused(name, FileNotFoundError, f"{name}: {{root}}/{file} not found: {run_prepare(config)}, or {remedy}")


def test_matlab_files(make_tree, build, refused, tmp_path):
    make_tree("StanfordCars", tmp_path)
    cars = tmp_path / "stanford_cars"
    path = cars / "devkit/cars_train_annos.mat"
    whole = path.read_bytes()
    for broken in (b"", b"<html>404</html>", whole[:200], whole[:-50]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="cars_train_annos.mat is not a readable MATLAB file"):
            build(tmp_path, "StanfordCars")

    shutil.copy(cars / "devkit/cars_meta.mat", path)
    file = "{root}/stanford_cars/devkit/cars_train_annos.mat"
    refused("StanfordCars", ValueError, f"{file} has no variable 'annotations': fetch it again")
    unlabelled = np.zeros((1, 2), dtype=[("fname", object)])
    savemat(path, {"annotations": unlabelled})
    message = f"{file}: 'annotations' has no fields 'fname' and 'class': fetch the file with labels"
    refused("StanfordCars", ValueError, message)
    labelled = np.zeros((1, 2), dtype=[("fname", object), ("class", object)])
    labelled[0] = [("00001.jpg", 1), ("00002.jpg", 4)]
    savemat(path, {"annotations": labelled})
    refused("StanfordCars", ValueError, f"{file}: image 00002.jpg has class 4, but there are 3 classes")


def test_flower_without_a_name(make_tree, refused, tmp_path):
    make_tree("OxfordFlowers", tmp_path)
    edit(tmp_path / "oxford_flowers/cat_to_name.json", '"3"', '"4"')
    refused("OxfordFlowers", ValueError, "{root}/oxford_flowers/cat_to_name.json: unknown class '3'")


def test_imagenet_folders(make_tree, refused, touch, tmp_path):
    make_tree("ImageNet", tmp_path)
    images = tmp_path / "imagenet/images"
    shutil.rmtree(images / "val/n01443537")
    message = (
        "ImageNet: class folder n01443537 is in one of {root}/imagenet/images/train and {root}/imagenet/images/val only"
    )
    refused("ImageNet", ValueError, message)
    shutil.rmtree(images / "val")
    touch(images / "val", ["ILSVRC2012_val_00000001.JPEG"])
    message = "{root}/imagenet/images/val holds no class folders: sort its images into one folder per class"
    refused("ImageNet", FileNotFoundError, message)
    shutil.rmtree(images / "val")
    message = "{root}/imagenet/images/val not found: one folder of images per class is expected in it"
    refused("ImageNet", FileNotFoundError, message)
    touch(images, [f"{part}/n99999999/image.jpg" for part in ("train", "val")])
    shutil.copytree(images / "train", images / "val", dirs_exist_ok=True)
    message = "class folder {root}/imagenet/images/val/n99999999 is not in classnames.txt: remove or rename it"
    refused("ImageNet", ValueError, message)


def test_classnames_cannot_be_written_for_a_part(make_tree, refused, tmp_path):
    make_tree("ImageNet", tmp_path)
    (tmp_path / "imagenet/classnames.txt").unlink()
    message = (
        "{root}/imagenet/classnames.txt not found: put CoOp's there; it can be written for all 1000 class"
        " folders only, here are 4"
    )
    refused("ImageNet", FileNotFoundError, message)


def test_variant_without_classnames(make_tree, refused, tmp_path):
    make_tree("ImageNetSketch", tmp_path)
    (tmp_path / "imagenet-sketch/classnames.txt").unlink()
    message = (
        f"ImageNetSketch: classnames.txt not found: {run_prepare('imagenet_sketch')}, or put ImageNet's into"
        " {root}/imagenet-sketch or {root}/imagenet"
    )
    refused("ImageNetSketch", FileNotFoundError, message)


@pytest.mark.parametrize(
    ("folder", "target", "said"), [("11", "n01440764", "11 is missing"), ("3", "0003", "0003 is none of them")]
)
def test_v2_with_other_folders(folder, target, said, make_tree, refused, tmp_path):
    make_tree("ImageNetV2", tmp_path)
    images = tmp_path / "imagenetv2/imagenetv2-matched-frequency-format-val"
    (images / folder).rename(images / target)
    message = f"ImageNetV2: {images} must hold the folders 0 to 11; {said}: unpack a current archive again"
    refused("ImageNetV2", ValueError, message)
