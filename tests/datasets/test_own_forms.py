"""Own data as people have it: names that are alike, tables and folders of every make, what systems leave behind."""

from __future__ import annotations

import codecs
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from datasets.shared.folders import PARTS, is_system_name, part_of

CASES = Path(__file__).parents[1] / "data/cases"
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
ONE = "are one to CLIP: make them one class, or give them names that differ in more than case, spaces and what cannot"
ONE += " be seen"
TABLE = ["path,classname", *(f"{c}/{i:02d}.png,{c}" for c in ("one", "two") for i in range(4))]
SIZES = "with a fixed split of 50/20/30% of each class, the same for every seed"


# Names


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("Zero", "zero", ("'Zero'", "'zero'")),
        ("polar bear", "polar_bear", ("'polar bear'", "'polar bear'")),
        ("Straße", "strasse", ("'Straße'", "'strasse'")),
        (NFD, NFC, (r"'caf\xe9'", r"'caf\xe9'")),
        ("ant", "ant\u200b", ("'ant'", r"'ant\u200b'")),
        ("ant", "\u00adant\ufeff", ("'ant'", r"'\xadant\ufeff'")),
        ("a  b", "a\u3000b", ("'a  b'", r"'a\u3000b'")),
    ],
)
def test_class_folders_that_are_one_to_clip(first, second, shown, mine):
    mine.images("", [first, second])
    places = [f"{mine.path}/{name}" for name in (first, second)]
    if second == NFC:
        places = [ascii(place) for place in places]
    mine.refused(f"ImageFolder: the class names {shown[0]} ({places[0]}) and {shown[1]} ({places[1]}) {ONE}")


def test_a_name_of_nothing(mine):
    mine.images("", ["a", "_\u200b"])
    mine.refused("ImageFolder: the class name ' \\u200b' ({mine}/_\u200b) holds nothing to read: choose another")


def test_names_of_a_file_that_are_one_to_clip(mine):
    """ImageNet's own has two missiles."""
    mine.images("", ["n02895154", "n04008634", "n01440764"])
    mine.path.joinpath("classnames.txt").write_text("n01440764 tench\nn02895154 missile\nn04008634 missile\n")
    places = (f"'missile' ('{key}' in {{mine}}/classnames.txt)" for key in ("n02895154", "n04008634"))
    mine.refused(f"ImageFolder: the class names {' and '.join(places)} {ONE}")


def test_a_key_in_two_unicode_forms_comes_twice(mine):
    mine.images("", [NFC, "tea"])
    mine.path.joinpath("classnames.txt").write_text(f"{NFC} a\n{NFD} b\ntea tea\n", encoding="utf-8")
    mine.refused("{mine}/classnames.txt: 'caf\xe9' comes twice")


@pytest.mark.parametrize("labels", [False, True])
def test_names_in_a_table_that_are_one_to_clip(labels, mine):
    mine.images("", "ab", 2)
    rows = [("a/00.png", "ant", 0), ("b/00.png", "bee", 1), ("b/01.png", "Ant", 2)]
    mine.table(["path,classname,label", *(f"{p},{n},{y}" for p, n, y in rows)] if labels else
               ["path,classname", *(f"{p},{n}" for p, n, _ in rows)])  # fmt: skip
    mine.refused(
        f"Table: the class names 'ant' ({{mine}}/table.csv, line 2) and 'Ant' ({{mine}}/table.csv, line 4) {ONE}",
        "Table",
    )


def test_unicode_forms_of_folders_files_and_names_do_not_matter(mine):
    """A folder from a Mac, its names typed elsewhere; train and test from different machines."""
    for part, form in (("train", NFD), ("test", NFC)):
        mine.images(part, [form, "tea"], 2)
    mine.path.joinpath("classnames.txt").write_text(f"tea tea\n{NFC} {NFD} au lait\n")
    assert mine.loader().classnames == ["tea", f"{NFC} au lait"]
    mine.path.joinpath("classnames.txt").unlink()
    mine.table(
        ["path,classname,split", f"train/{NFC}/00.png,x,train", "train/tea/00.png,y,train", "test/tea/00.png,y,test"]
    )
    assert mine.read("Table")[0][0][0][0] == f"train/{NFD}/00.png"


# Text


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_tables_of_every_make(mark, end, encoding, mine):
    mine.images("", ["one", "two"], 4)
    expected = mine.loader().train_x
    for name in ("t.csv", "t.tsv", "t.txt"):
        mine.path.joinpath(name).write_bytes(end.join(TABLE).replace(",", mark).encode(encoding))
        loader = mine.loader("Table", TABLE=name)
        assert [item.impath for item in loader.train_x] == [item.impath for item in expected]


def test_a_table_of_a_spreadsheet(mine):
    """Capitals in the header, quotes, commas and new lines in names, blank lines of separators only."""
    mine.images("", "ab", 2)
    mine.path.joinpath("table.csv").write_text(
        '"Path";"ClassName";"SPLIT"\r\n"a/00.png";"ant; ""red""";train\r\n"b/00.png";"bee,\r\nhoney";Training\r\n;;\r\n'
        'a/01.png;"ant; ""red""";dev\r\n'
    )
    assert mine.read("Table")[0] == [
        [["a/00.png", 0, 'ant; "red"'], ["b/00.png", 1, "bee,\nhoney"]],
        [],
        [["a/01.png", 0, 'ant; "red"']],
    ]


def test_backslashes_in_paths(mine):
    mine.images("", ["one", "two"], 4)
    expected = mine.read()[0]
    mine.table([line.replace("/", "\\") for line in TABLE])
    lists, said = mine.read("Table")
    assert lists == expected
    assert said == [
        f"note: {mine.path}/table.csv, line 2: the backslashes in its paths are read as /, so that this is one/00.png",
        f"Table: 2 classes in {mine.path}, {SIZES}: 4 train, 2 val, 2 test",
    ]
    mine.path.joinpath("one/00.png").rename(mine.path / "one\\00.png")
    assert ["one\\00.png", 0, "one"] in sum(mine.read("Table")[0], []), "a name with a backslash in it"


def test_backslashes_do_not_lead_out_of_the_folder(mine):
    mine.images("", "ab", 2)
    mine.table(["path,classname", "..\\mine\\..\\x.png,a"])
    mine.refused("{mine}/table.csv, line 2: ..\\mine\\..\\x.png lies outside DATASET.FOLDER {mine}", "Table")
    for path in ("C:\\mine\\a\\00.png", "D:/mine/a/00.png"):
        mine.table(["path,classname", f"{path},a"])
        message = f"{path} is a path of another machine: write it relative to DATASET.FOLDER"
        mine.refused(f"{{mine}}/table.csv, line 2: {message}", "Table")


def test_a_workbook_is_no_table(mine):
    mine.images("", "ab", 2)
    mine.path.joinpath("table.csv").write_bytes(b"PK\x03\x04\0\0")
    mine.refused("{mine}/table.csv is a workbook or an archive, not a text file: save it as CSV in UTF-8", "Table")


def test_class_names_with_a_byte_order_mark(mine):
    mine.images("", ["one", "zero"])
    text = (CASES / "classnames_with_bom.txt").read_bytes()
    assert text.startswith(codecs.BOM_UTF8)
    for content in (text, text.decode("utf-8-sig").replace("\n", "\r\n").encode("utf-16")):
        mine.path.joinpath("classnames.txt").write_bytes(content)
        assert mine.loader().classnames == ["digit one", "digit zero"]


# Folders


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("training", "validation", "testing"),
        ("seg_train", "seg_val", "seg_test"),
        ("Train_Set", "dev-set", "Test Set"),
        ("tr", "va", "te"),
        ("train_images", "valid", "testset"),
    ],
)
def test_what_parts_are_called(train, val, test, mine, touch):
    for folder in (train, val, test):
        mine.images(folder, "ab", 2)
    touch(mine.path / "seg_pred", ["1.png"])
    lists, said = mine.read()
    assert [part[0][0] for part in lists] == [f"{folder}/a/00.png" for folder in (train, val, test)]
    beside = ", ".join(sorted((train, val, test)))
    assert said[0] == f"ImageFolder: beside {beside}, these folders are not read: seg_pred"
    mine.table(["path,classname,split", *(f"{f}/{c}/00.png,{c},{f}" for f in (train, val, test) for c in "ab")])
    assert [len(part) for part in mine.read("Table")[0]] == [2, 2, 2]


def test_parts_are_told_apart():
    assert set(PARTS.values()) == {"train", "val", "test"}
    assert [part_of(name) for name in ("seg_pred", "pred", "tram", "trainer", "")] == [None] * 5


JUNK = ("Thumbs.db", "desktop.ini", ".DS_Store", "._00.png", "ehthumbs.db", "Icon\r")
JUNK_FOLDERS = ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information")


@pytest.mark.parametrize("parts", [("",), ("training", "testing")])
def test_what_systems_leave_behind_is_not_read(parts, mine, touch):
    for part in parts:
        mine.images(part, "ab")
    before = mine.read()
    for place in ("", *parts, *(f"{part}/a" for part in parts)):
        touch(mine.path / place, [*JUNK, *(f"{folder}/x/1.png" for folder in JUNK_FOLDERS)])
    assert mine.read() == before and all(map(is_system_name, (*JUNK, *JUNK_FOLDERS)))


def test_one_folder_too_many(mine):
    mine.images("archive/dataset", "ab")
    mine.path.joinpath("readme.txt").touch()
    lists, said = mine.read(shots=1)
    inner = mine.path / "archive/dataset"
    assert said[:3] == [
        f"ImageFolder: {mine.path} holds no other folder than archive: that is read",
        f"ImageFolder: {mine.path}/archive holds no other folder than dataset: that is read",
        f"ImageFolder: 2 classes in {inner}, {SIZES}: 10 train, 4 val, 6 test",
    ]
    assert mine.read(shots=1, FOLDER=inner)[0] == lists, "the same data, named as it should be"
    for folder, name in ((mine.path, "outer"), (inner, "inner")):
        (folder / "classnames.txt").write_text(f"a {name}\nb other\n")
        assert mine.loader().classnames == [name, "other"]
        (folder / "classnames.txt").unlink()


def test_one_folder_too_many_in_a_part(mine):
    for part in ("train", "test"):
        mine.images(f"seg_{part}/seg_{part}", "ab", 2)
    lists, said = mine.read()
    assert said == [
        *(
            f"ImageFolder: {mine.path}/{p} holds no other folder than {p}: that is read"
            for p in ("seg_test", "seg_train")
        ),
        f"ImageFolder: 2 classes in {mine.path}, split as given: 4 train, 0 val, 4 test",
    ]
    assert lists[0][0] == ["seg_train/seg_train/a/00.png", 0, "a"]


def test_one_folder_too_many_in_every_class(mine):
    """As in Tiny ImageNet; a test part of one class keeps that."""
    mine.images("train", ["a/images", "b/images"], 2)
    mine.images("test", ["a/images"], 2)
    lists, said = mine.read()
    assert [path for path, _, _ in lists[2]] == ["test/a/images/00.png", "test/a/images/01.png"]
    assert said[:2] == [
        f"ImageFolder: in {counts} class folders the images are one folder further down, such as {mine.path}/{inner}"
        for counts, inner in (("1 of 1", "test/a/images"), ("2 of 2", "train/a/images"))
    ]


@pytest.mark.parametrize(
    ("plant", "line"),
    [
        (
            lambda m: (m.images("", "ab"), m.images("b", ["inner"])),
            "{mine}/b/inner is a folder in a class folder: put its images one level up",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "b/inner").mkdir()),
            "{mine}/b/inner is a folder in a class folder: it holds no images, so remove it",
        ),
        (
            lambda m: (m.images("beasts", ["cat", "cow", "dog", "fox"]), m.images("plants", ["rose"])),
            "class folder {mine}/beasts holds folders (cat, cow, dog and 1 more) instead of images: if those are the"
            " classes, put them one level up, else their images",
        ),
        (
            lambda m: m.images("", ["caf\udce9", "tea"]),
            "the class name 'caf\\udce9' ({mine}/caf\udce9) is not UTF-8, so that no prompt can hold it: rename it, or"
            " give it a name in a file of class names, as caf\udce9",
        ),
    ],
)
def test_the_fault_that_is_seen_is_named(plant, line, mine):
    plant(mine)
    mine.refused(f"ImageFolder: {line}")


def test_images_are_what_pillow_reads(mine):
    for name in "ab":
        mine.images("", [name], 4)
        mine.path.joinpath(f"{name}/00.png").rename(mine.path / name / "00.JFIF")
        Image.new("RGB", (4, 4)).save(mine.path / name / "without a suffix", "PNG")
    assert sum(map(len, mine.read()[0])) == 10
    mine.path.joinpath("b/LICENSE").write_text("free")
    mine.refused("ImageFolder: {mine}/b/LICENSE is not an image that can be read (no suffix): convert or remove it")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_class_folder_that_is_not_utf_8_can_be_named(form, mine):
    mine.images("", ["caf\udce9", "tea"])
    text = "caf\\udce9 café\ntea tea\n" if form == "text" else '{"caf\\udce9": "café", "tea": "tea"}'
    mine.path.joinpath(f"classnames.{'txt' if form == 'text' else 'json'}").write_text(text)
    loader = mine.loader(shots=1)
    assert loader.classnames == ["café", "tea"] and os.path.isfile(loader.train_x[0].impath)


def test_files_that_are_not_utf_8_in_a_table(mine):
    """As predict writes them."""
    mine.images("", ["one", "two"], 4)
    for folder in ("one", "two"):
        os.rename(mine.path / folder / "00.png", mine.path / folder / "caf\udce9.png")
    expected = mine.read(shots=4)
    assert mine.read(shots=4)[1][-1].endswith("shot_4-seed_1.jsonl"), "its few-shot file reads back"
    mine.table([line.replace("00.png", "caf\\udce9.png") for line in TABLE])
    assert mine.read("Table", shots=4)[0] == expected[0]
