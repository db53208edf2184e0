"""Damaged trees: the exact lines, and that preparing again mends them without touching what is the user's."""

from __future__ import annotations

import json
import shutil

import pytest

from datasets.prepare import sources


@pytest.fixture
def again(tmp_path):
    return lambda name: f"run python mmrl.py prepare {name} --root {tmp_path}"


def test_damaged_split_dataset(server, prepare, again, tmp_path):
    name, folder = "OxfordPets", tmp_path / "oxford_pets"
    prepare(name, "--root", tmp_path)
    (folder / "images/Bombay_1.jpg").unlink()
    (folder / "images/Bombay_3.jpg").unlink()
    (folder / "images/Abyssinian_0.jpg").write_bytes(b"")
    (folder / "images/mine.png").write_bytes(b"mine")
    (folder / "images/Bombay_2.jpg").write_bytes(b"edited")
    run = prepare(name, "--root", tmp_path, "--verify")
    assert (run.status, run.out) == (
        1,
        [
            f"OxfordPets: of 27 images, 2 images (images/Bombay_1.jpg, images/Bombay_3.jpg) are missing: {again(name)}",
            f"OxfordPets: of 27 images, 1 image (images/Abyssinian_0.jpg) is empty: {again(name)}",
            "OxfordPets: note: images holds 1 entry (mine.png) in no list: nobody reads them; remove them if you like",
        ],
    )
    server.requests.clear()
    run = prepare(name, "--root", tmp_path)
    assert run.status == 0 and "are kept in" in run.out[-1]
    assert not server.requests, "the archive is still there"
    assert (folder / "images/Bombay_1.jpg").read_bytes() and (folder / "images/Abyssinian_0.jpg").read_bytes()
    assert (folder / "images/mine.png").read_bytes() == b"mine"
    assert (folder / "images/Bombay_2.jpg").read_bytes() == b"edited"


def test_many_missing_are_counted_and_the_first_named(prepare, again, tmp_path):
    prepare("StanfordCars", "--root", tmp_path)
    for number in range(1, 10):
        (tmp_path / f"stanford_cars/cars_train/{number:05d}.jpg").unlink()
    (tmp_path / "stanford_cars/cars_test/00002.jpg").unlink()
    first = ", ".join(f"cars_train/{number:05d}.jpg" for number in range(1, 6))
    assert prepare("StanfordCars", "--root", tmp_path, "--verify").out == [
        f"StanfordCars: of 19 images, 1 image (cars_test/00002.jpg) is missing: {again('StanfordCars')}",
        f"StanfordCars: of 19 images, 9 images ({first}, and 4 more) are missing: {again('StanfordCars')}",
    ]


def test_nothing_there(server, prepare, again, tmp_path):
    run = prepare("StanfordCars", "--root", tmp_path, "--verify")
    assert (run.status, run.out) == (
        1,
        [
            f"StanfordCars: cars_train is missing: {again('StanfordCars')}",
            f"StanfordCars: cars_test is missing: {again('StanfordCars')}",
            "StanfordCars: split_zhou_StanfordCars.json is missing (a run would derive another, not comparable one): "
            f"{again('StanfordCars')}",
        ],
    )
    assert not server.requests and not list(tmp_path.iterdir())


def test_another_split_is_told_and_kept(server, prepare, again, tmp_path):
    name = "EuroSAT"
    prepare(name, "--root", tmp_path)
    path = tmp_path / "eurosat/split_zhou_EuroSAT.json"
    published = sources.load(server.table).datasets[name].split.sha256
    split = json.loads(path.read_text())
    split["val"].append(split["train"].pop())
    split["test"][0] = split["test"][1]
    split["train"] = [[image, label, "River" if label == 1 else text] for image, label, text in split["train"]]
    path.write_text(json.dumps(split))
    size = path.stat().st_size
    aside = f"move {path} away and {again(name)}"
    server.requests.clear()
    for arguments in ([], ["--verify"]):
        run = prepare(name, "--root", tmp_path, *arguments)
        assert run.status == 1
        assert run.out[0].startswith(f"EuroSAT: {path.name} is not the published one: it has {size} bytes instead of")
        assert run.out[0].endswith(f": {aside}")
        twice = split["test"][0][0]
        gone = set(json.loads(server.files[f"{name}/{path.name}"])["test"][0]) - set(split["test"][0])
        assert run.out[1:6] == [
            f"EuroSAT: {path.name} lists 14 train images instead of 15: {aside}",
            f"EuroSAT: {path.name} lists 7 val images instead of 6: {aside}",
            f"EuroSAT: {path.name} has other class names than the published ones: {aside}",
            f"EuroSAT: {path.name} lists 1 image ({twice}) more than once: {aside}",
            f"EuroSAT: note: 2750 holds 1 entry ({gone.pop()}) in no list: nobody reads them; remove them if you like",
        ]
    assert not server.requests and json.loads(path.read_text()) == split and published

    path.write_text("[1")
    assert prepare(name, "--root", tmp_path, "--verify").out[1].startswith(f"EuroSAT: {path}, line 1: not valid JSON")
    path.unlink()
    assert prepare(name, "--root", tmp_path).status == 0


def test_stray_folders(prepare, tmp_path):
    prepare("Caltech101", "--root", tmp_path)
    images = tmp_path / "caltech-101/101_ObjectCategories"
    assert {"BACKGROUND_Google", "Faces_easy"} < {path.name for path in images.iterdir()}
    (images / "copy of accordion").mkdir()
    run = prepare("Caltech101", "--root", tmp_path, "--verify")
    assert run.status == 0 and run.out[0].startswith(
        "Caltech101: note: 101_ObjectCategories holds 1 entry (copy of accordion/) in no list: "
    )


def test_damaged_imagenet_variants(prepare, again, tmp_path):
    prepare("ImageNetA", "ImageNetV2", "--root", tmp_path)
    a, v2 = tmp_path / "imagenet-adversarial/imagenet-a", tmp_path / "imagenetv2"
    shutil.rmtree(a / "n01498041")
    (a / "n99999999").mkdir()
    (a / "n01531178/n01531178_1.JPEG").write_bytes(b"")
    images = v2 / "imagenetv2-matched-frequency-format-val"
    (images / "17/1.jpeg").write_bytes(b"second")
    (images / "18/0.jpeg").unlink()
    (v2 / "classnames.txt").write_text("n01440764 tench\n")
    aside = f"move what is too much out of {a}"
    assert prepare("ImageNetA", "ImageNetV2", "--root", tmp_path, "--verify").out == [
        f"ImageNetA: imagenet-a lacks 1 class folder (n01498041): {again('ImageNetA')}",
        f"ImageNetA: imagenet-a holds 1 folder (n99999999) of no class: {aside}",
        f"ImageNetA: imagenet-a holds 1 empty file (n01531178/n01531178_1.JPEG): {again('ImageNetA')}",
        f"ImageNetV2: {images.name} has fewer than 1 images in 1 class folder (18 (0)): {again('ImageNetV2')}",
        f"ImageNetV2: {images.name} has more than 1 images in 1 class folder (17 (2)): "
        f"move what is too much out of {images}",
        f"ImageNetV2: {v2}/classnames.txt is not the published one, names or order differ: "
        f"move it away and {again('ImageNetV2')}",
    ]
    assert prepare("ImageNetA", "--root", tmp_path).out[0].endswith(f"of no class: {aside}")
    shutil.rmtree(a / "n99999999")
    assert prepare("ImageNetA", "--root", tmp_path, "--verify").status == 0


def test_damaged_aircraft(prepare, again, tmp_path):
    name, folder = "FGVCAircraft", tmp_path / "fgvc_aircraft"
    prepare(name, "--root", tmp_path)
    (folder / "images/0003000.jpg").unlink()
    lines = (folder / "images_variant_test.txt").read_text().splitlines()
    (folder / "images_variant_test.txt").write_text("\n".join(lines[:-1]))
    run = prepare(name, "--root", tmp_path, "--verify")
    assert run.out[:2] == [
        f"{name}: images_variant_*.txt lists 8 test images instead of 9: move them away and {again(name)}",
        f"{name}: of 26 images, 1 image (images/0003000.jpg) is missing: {again(name)}",
    ]
    (folder / "variants.txt").unlink()
    assert prepare(name, "--root", tmp_path, "--verify").out == [f"{name}: variants.txt is missing: {again(name)}"]


def test_missing_annotations_without_split(server, prepare, again, tmp_path):
    prepare("OxfordFlowers", "--root", tmp_path)
    (tmp_path / "oxford_flowers/split_zhou_OxfordFlowers.json").unlink()
    needed = "and without split_zhou_OxfordFlowers.json it is needed"
    assert prepare("OxfordFlowers", "--root", tmp_path, "--verify").out[1:] == [
        f"OxfordFlowers: imagelabels.mat is missing, {needed}: {again('OxfordFlowers')}",
        f"OxfordFlowers: cat_to_name.json is missing, {needed}: {again('OxfordFlowers')}",
    ]
