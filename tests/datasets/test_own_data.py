"""A user's own images: folders and tables, and one clear line for what is wrong with them."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.own.class_names import name_key
from datasets.shared import fewshot

PARTS = ("train_x", "val", "test")


def paths(part):
    return [path for path, _, _ in part]


# Folders


def test_class_folders_get_a_fixed_split(mine):
    mine.images("", ["polar_bear", "Ant", "cat"])
    mine.path.joinpath(".DS_Store").touch()
    mine.path.joinpath("cat/.hidden").touch()
    mine.path.joinpath("notes.txt").touch()
    lists, said = mine.read()
    said_of_it = "with a fixed split of 50/20/30% of each class, the same for every seed: 15 train, 6 val, 9 test"
    assert said == [f"ImageFolder: 3 classes in {mine.path}, {said_of_it}"]
    for part, count in zip(lists, (5, 2, 3), strict=True):
        assert Counter((label, name) for _, label, name in part) == {
            (0, "Ant"): count,
            (1, "cat"): count,
            (2, "polar bear"): count,
        }
    assert len(set(sum(map(paths, lists), []))) == 30
    assert mine.read(seed=2)[0] == lists
    assert paths(lists[0])[:5] != sorted(paths(lists[0])[:5])


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_three_folders_are_taken_as_they_are(val, mine):
    mine.images("train", ["a", "b"], 3)
    mine.images(val, ["a"], 1)
    mine.images("test", ["b", "a"], 2)
    lists, said = mine.read()
    assert said == [f"ImageFolder: 2 classes in {mine.path}, split as given: 6 train, 1 val, 4 test"]
    assert lists[0] == [[f"train/{c}/{i:02d}.png", y, c] for y, c in enumerate("ab") for i in range(3)]
    assert lists[1] == [[f"{val}/a/00.png", 0, "a"]]
    assert paths(lists[2]) == ["test/a/00.png", "test/a/01.png", "test/b/00.png", "test/b/01.png"]


@pytest.mark.parametrize(
    ("given", "sizes", "said"),
    [
        (["train", "test"], (20, 0, 20), "split as given: 20 train, 0 val, 20 test"),
        (["train", "val"], (20, 0, 20), "split as given with val as the test list: 20 train, 0 val, 20 test"),
        (["train"], (10, 4, 6), "with a fixed split of 50/20/30% of each class, the same for every seed: 10 train, 4"),
        (["test"], (20, 0, 20), "for testing only: the training list is the test list, do not train on it: 20 train"),
    ],
)
def test_other_combinations(given, sizes, said, mine):
    for part in given:
        mine.images(part, ["a", "b"])
    lists, (line,) = mine.read()
    assert tuple(map(len, lists)) == sizes
    assert line.startswith(f"ImageFolder: 2 classes in {mine.path}, {said}")
    assert {path.split("/")[0] for path in paths(lists[2])} == {given[-1]}
    (lists, _), trained = mine.read(shots=2), sizes[0] if given == ["test"] else 4
    assert len(lists[0]) == trained and len(lists[2]) == sizes[2]


@pytest.mark.parametrize(("given", "trained", "val"), [(["train"], 20, 0), (["train", "val", "test"], 40, 20)])
def test_all_but_the_validation_images_train(given, trained, val, mine):
    for part in given:
        mine.images(part, ["a", "b"])
    loader = mine.loader(ALL_TRAIN=True)
    assert [len(items) for items in (loader.train_x, loader.val, loader.test)] == [trained, val, trained]
    assert {part: len(items) for part, items in loader.given.items()} == dict.fromkeys(given, 20)


def test_a_class_may_be_called_train(mine):
    mine.images("", ["train", "test", "tram"])
    lists, _ = mine.read()
    assert {name for _, _, name in lists[0]} == {"train", "test", "tram"}


def test_folders_beside_the_parts_and_loose_images_are_told(mine):
    mine.images("", ["train/a", "train/b", "test/a", "raw"])
    mine.images("annotations", ["x"], 1)
    mine.path.joinpath("train/loose.JPG").touch()
    assert mine.read()[1][:2] == [
        "ImageFolder: beside test, train, these folders are not read: annotations, raw",
        f"ImageFolder: images in {mine.path}/train beside its class folders are not read: loose.JPG",
    ]


def test_base_and_new_and_few_shots(mine, build, tmp_path):
    mine.images("", "abcde")
    base, new = (mine.loader(shots=2, subset=subset) for subset in ("base", "new"))
    assert (base.classnames, new.classnames) == (["a", "b", "c"], ["d", "e"])
    assert (len(base.train_x), len(base.val), len(base.test)) == (6, 6, 9)
    assert (mine.path / "split_fewshot/shot_2-seed_1.jsonl").is_file(), "which is no class"
    assert mine.loader().num_classes == 5


def test_new_images_make_the_few_shot_file_stale(mine):
    mine.images("", "ab")
    mine.read(shots=2)
    mine.images("", "ab", 12)
    assert "is stale (its split_sha256 is another), so drawn anew and replaced" in mine.read(shots=2)[1][-1]


@pytest.mark.parametrize("absolute", [False, True])
def test_where_the_folder_may_be(absolute, mine, tmp_path, build):
    mine.images("", "ab")
    folder = tmp_path / "mine" if absolute else "mine/"
    root = "" if absolute else tmp_path
    assert build(root, "ImageFolder", FOLDER=folder).image_dir == str(mine.path)


@pytest.mark.parametrize("form", ["text", "json", "given"])
def test_names_and_order_from_a_file(form, mine, tmp_path):
    mine.images("", ["n02", "n01", "n03"])
    names = {"n03": "third one", "n99": "not here", "n01": "first", "n02": "second"}
    content = "".join(f"{key} {name}\n" for key, name in names.items()) if form == "text" else json.dumps(names)
    path = {"text": mine.path / "classnames.txt", "json": mine.path / "classnames.json", "given": tmp_path / "n.json"}
    path[form].write_text(content)
    keys = {"CLASSNAMES": path[form]} if form == "given" else {}
    loader = mine.loader(**keys)
    assert loader.classnames == ["third one", "first", "second"]
    said = f"ImageFolder: class names and their order are from {path[form]}"
    assert said in mine.read(**keys)[1]


def test_imagenets_file_of_names_serves(mine):
    mine.images("", ["n02895154", "n01440764"])
    mine.path.joinpath("classnames.txt").write_text("n01440764 tench\nn02895154 missile\nn04008634 missile\n")
    assert mine.loader().classnames == ["tench", "missile"]


@pytest.mark.parametrize(
    ("plant", "error", "message"),
    [
        (
            lambda m: m.path.mkdir(),
            FileNotFoundError,
            "ImageFolder: {mine} holds no class folders: sort your images into one folder per class",
        ),
        (lambda m: None, FileNotFoundError, "ImageFolder: DATASET.FOLDER {mine} not found: put your images there"),
        (
            lambda m: (m.images("train", "b"), m.images("test", "ab"), (m.path / "train/a").mkdir()),
            FileNotFoundError,
            "class folder {mine}/train/a holds no images: put them there or remove the folder",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "b/notes.docx").touch()),
            ValueError,
            "ImageFolder: {mine}/b/notes.docx is not an image that can be read (.docx): convert or remove it",
        ),
        (
            lambda m: (m.images("", "ab"), m.images("b", ["inner"])),
            ValueError,
            "ImageFolder: {mine}/b/inner is a folder in a class folder: put its images one level up",
        ),
        (
            lambda m: m.images("", "a"),
            ValueError,
            "ImageFolder: {mine} has one class only ('a'): at least 2 are needed",
        ),
        (lambda m: m.images("", "ab", 3), ValueError, "class 'a' has 3 images: train, val and test need at least 4"),
        (
            lambda m: (m.images("train", "ab"), m.images("test", "abc")),
            ValueError,
            "ImageFolder: class folder 'c' is in test but not in train",
        ),
        (
            lambda m: [m.images(part, "ab") for part in ("train", "val", "valid")],
            ValueError,
            "ImageFolder: {mine} has both val and valid: keep one of them",
        ),
        (
            lambda m: m.images("val", "ab"),
            ValueError,
            "ImageFolder: {mine} has val but no train: name one so, or leave the split out",
        ),
        (
            lambda m: (m.images("val", "ab"), m.images("test", "ab")),
            ValueError,
            "ImageFolder: {mine} has test and val but no train: name one so, or leave the split out",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.txt").write_text("a ant\n")),
            ValueError,
            "{mine}: the file of class names has no line for 'b': add it",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.txt").write_text("a ant\nb\n")),
            ValueError,
            "{mine}/classnames.txt, line 2: expected 'folder name', got 'b'",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.txt").write_text("a ant\nb bee\na bat\n")),
            ValueError,
            "{mine}/classnames.txt: 'a' comes twice",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.json").write_text('{"a": "x", "b": "y", "a": "z"}')),
            ValueError,
            "{mine}/classnames.json: 'a' comes twice",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.json").write_text('{"a": "x", "b": 3}')),
            ValueError,
            "{mine}/classnames.json: the name of 'b' must be text, got 3",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.json").write_text("{")),
            ValueError,
            "{mine}/classnames.json, line 1: not valid JSON (Expecting property name enclosed in double quotes)",
        ),
        (
            lambda m: (m.images("", "ab"), (m.path / "classnames.json").write_text("3")),
            ValueError,
            "{mine}/classnames.json: expected a JSON object of names by folder or a list of names",
        ),
        (
            lambda m: (m.images("", "ab"), [(m.path / f"classnames.{s}").touch() for s in ("txt", "json")]),
            ValueError,
            "ImageFolder: there are both {mine}/classnames.txt and {mine}/classnames.json: remove one",
        ),
    ],
)
def test_what_is_wrong_with_folders(plant, error, message, mine):
    plant(mine)
    mine.refused(message, error=error)


def test_settings_that_are_wrong(mine):
    mine.images("", "ab")
    empty = "DATASET.FOLDER is empty: name the folder of your images, in the root or absolute"
    mine.refused(f"ImageFolder: {empty}", FOLDER="")
    mine.refused("Table: DATASET.TABLE is empty: name the CSV or JSON lines file of your images", "Table", TABLE="")
    for name in ("ImageFolder", "Table"):
        mine.table(["path,label", "a/00.png,0"])
        message = f"{name}: DATASET.CLASSNAMES {{mine}}/names.txt not found"
        mine.refused(message, name, FileNotFoundError, CLASSNAMES="names.txt")
    mine.refused("DATASET.TABLE {mine}/none.csv not found", "Table", FileNotFoundError, TABLE="none.csv")
    mine.table([], "table.xlsx")
    mine.refused(
        "DATASET.TABLE {mine}/table.xlsx must be a .csv, .tsv, .txt or .jsonl file", "Table", TABLE="table.xlsx"
    )


# Tables


ROWS = [("b/00.png", 1, "bee", "train"), ("a/00.png", 0, "ant", "train"), ("a/01.png", 0, "ant", "test")]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("columns", [("label", "classname"), ("label",), ("classname",)])
def test_a_table_in_all_forms(form, columns, mine, tmp_path):
    mine.images("", "ab", 2)
    if columns == ("label",):
        mine.path.joinpath("classnames.json").write_text('["ant", "bee"]')
    rows = [dict(zip(("path", "label", "classname", "split"), row, strict=True)) for row in ROWS]
    rows = [{key: row[key] for key in ("split", *columns, "path")} for row in rows]
    table = tmp_path / f"elsewhere.{form}"
    with open(table, "w", newline="", encoding="utf-8-sig") as file:
        if form == "jsonl":
            file.writelines(f"{json.dumps(row)}\n\n" for row in rows)
        else:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    lists, said = mine.read("Table", TABLE=table)
    assert lists == [[["b/00.png", 1, "bee"], ["a/00.png", 0, "ant"]], [], [["a/01.png", 0, "ant"]]]
    assert said[-1] == f"Table: 2 classes in {mine.path}, split as given: 2 train, 0 val, 1 test"


def test_a_table_without_a_split(mine):
    mine.images("", ["x", "y"])
    mine.table(
        ["path,classname", *(f"{c}/{i:02d}.png,{n}" for c, n in (("x", "zebra"), ("y", "ape")) for i in range(10))]
    )
    lists, said = mine.read("Table")
    assert tuple(map(len, lists)) == (10, 4, 6) and "with a fixed split of 50/20/30%" in said[0]
    assert {(path[0], label, name) for path, label, name in lists[0]} == {("x", 1, "zebra"), ("y", 0, "ape")}


def test_a_file_of_names_orders_a_table(mine):
    mine.images("", "ab", 4)
    mine.table(["path,classname", *(f"{c}/{i:02d}.png,{c}" for c in "ab" for i in range(4))])
    mine.path.joinpath("names.txt").write_text("b big bee\na ant\n")
    assert mine.loader("Table", CLASSNAMES="names.txt").classnames == ["big bee", "ant"]


def test_tables_over_the_same_images_have_few_shot_files_of_their_own(mine):
    mine.images("", "ab", 4)
    lines = ["path,classname", *(f"{c}/{i:02d}.png,{c}" for c in "ab" for i in range(4))]
    for name in ("one.csv", "two.csv"):
        mine.table(lines, name)
        mine.loader("Table", shots=1, TABLE=name)
    found = sorted(str(path.relative_to(mine.path)) for path in mine.path.rglob("*.jsonl"))
    assert found == [f"split_fewshot/{name}.csv/shot_1-seed_1.jsonl" for name in ("one", "two")]
    assert fewshot.read(str(mine.path / found[0])).header["dataset"] == "Table"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label"], "{table} lists no images"),
        ([], "{table} lists no images"),
        (
            ["path,name", "a/00.png,x"],
            "{table}, line 2: unknown column 'name': there are path, label, classname, split",
        ),
        (
            ["path,split", "a/00.png,train"],
            "{table}, line 2: the columns path, and label or classname, are needed; here are path, split",
        ),
        (["path,label,label", "a/00.png,1,2"], "{table}, line 1: a column comes twice in path, label, label"),
        (["path,label", "a/00.png,1,2"], "{table}, line 2: more values than columns"),
        (["path,label", "a/00.png"], "{table}, line 2: fewer values than columns"),
        (["path,classname", "a/00.png,"], "{table}, line 2: classname is '', expected text"),
        (["path,classname", '"a/00.png,x'], "{table}, line 2: not valid CSV (unexpected end of data)"),
        (
            ["path,label,classname", "a/00.png,ant,ant"],
            "{table}, line 2: label 'ant' is not a whole number from 0: names belong into classname",
        ),
        (
            ["path,label,classname", "a/00.png,-1,ant"],
            "{table}, line 2: label '-1' is not a whole number from 0: names belong into classname",
        ),
        (
            ["path,label,classname", "a/00.png,0,ant", "b/00.png,1,bee", "a/01.png,0,aunt"],
            "{table}, line 4: label 0 is called 'aunt', but 'ant' in line 2",
        ),
        (
            ["path,label", "a/00.png,0"],
            "{table} has labels without names: add a column classname, or name a file of them in DATASET.CLASSNAMES",
        ),
        (
            ["path,classname,split", "a/00.png,ant,seg_pred"],
            "{table}, line 2: unknown split 'seg_pred': use train, val or test",
        ),
        (["path,classname", "../x.png,ant"], "{table}, line 2: ../x.png lies outside DATASET.FOLDER {mine}"),
        (
            ["path,classname", "../mine-too/x.png,ant"],
            "{table}, line 2: ../mine-too/x.png lies outside DATASET.FOLDER {mine}",
        ),
        (["path,classname", "/x.png,ant"], "{table}, line 2: /x.png lies outside DATASET.FOLDER {mine}"),
        (["path,classname", "a/x.txt,ant"], "{table}, line 2: a/x.txt is not an image that can be read (.txt)"),
        (
            ["path,classname,split", "a/00.png,ant,train", "b/00.png,bee,train", "a/../a/00.png,ant,test"],
            "{table}, line 4: a/00.png is listed in both train and test, first in line 2",
        ),
        (
            ["path,classname", "a/00.png,ant", "b/00.png,bee", "a/00.png,bee"],
            "{table}, line 4: a/00.png is listed twice, first in line 2",
        ),
        (
            ["path,classname,split", "a/00.png,ant,train", "a/01.png,ant,test"],
            "Table: {mine} has one class only ('ant'): at least 2 are needed",
        ),
        (
            ["path,label,classname,split", "a/00.png,0,ant,train", "b/00.png,2,bee,train", "a/01.png,0,ant,test"],
            "{mine}: no train image has label 1, but labels run to 2",
        ),
        (
            ["path,classname,split", "a/00.png,ant,train", "b/00.png,bee,test"],
            "{mine}: label 1 ('bee') is in test but not in train",
        ),
    ],
)
def test_what_is_wrong_with_a_table(lines, message, mine):
    mine.images("", "ab", 4)
    mine.table(lines)
    mine.refused(message.replace("{table}", "{mine}/table.csv"), "Table")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1: not valid JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (["[1]"], "line 1: expected a JSON object"),
        (['{"path": "a/00.png", "label": true, "classname": "a"}'], "line 1: label is True, expected a number"),
        (['{"path": 3, "label": 0}'], "line 1: path is 3, expected text"),
        (
            ['{"path": "a/00.png", "classname": "a"}', '{"path": "a/01.png", "classname": "a", "split": "val"}'],
            "line 2: 'split' must be in all rows or in none",
        ),
        (['{"path": "a/00.png", "classname": "a", "label": 1.5}'], "line 1: label is 1.5, expected a number"),
    ],
)
def test_what_is_wrong_with_json_lines(lines, message, mine):
    mine.table(lines, "table.jsonl")
    mine.refused(f"{{mine}}/table.jsonl, {message}".replace("{mine}", str(mine.path)), "Table", TABLE="table.jsonl")


def test_missing_images_of_a_table(mine):
    mine.images("", "ab", 1)
    mine.table(["path,classname,split", "a/00.png,a,train", "b/00.png,b,train", "a/7.png,a,test", "c/8.png,b,test"])
    first = "Table: 2 of 4 images are missing, first {mine}/a/7.png"
    mine.refused(f"{first}: put them there, or take them off the list", "Table", FileNotFoundError)


def test_names_for_labels_that_are_missing_or_given_twice(mine):
    mine.images("", "ab", 4)
    mine.table(["path,label", "a/00.png,0", "b/00.png,5"])
    mine.path.joinpath("names.txt").write_text("0 ant\n1 bee\n")
    message = "{mine}/table.csv, line 3: the file of class names has no line for label 5: add it"
    mine.refused(message, "Table", CLASSNAMES="names.txt")
    mine.table(["path,label,classname", "a/00.png,0,ant"])
    message = "{mine}/table.csv has a column classname: DATASET.CLASSNAMES would name the classes twice"
    mine.refused(message, "Table", CLASSNAMES="names.txt")


WORDS = st.text("abcXYZ019 -'äß漢_", min_size=1, max_size=8).map(str.strip).filter(name_key)
CLASSES = st.lists(
    st.tuples(WORDS, st.integers(4, 9)), min_size=2, max_size=5, unique_by=lambda pair: name_key(pair[0])
)


@given(CLASSES.map(dict), st.booleans())
@settings(deadline=None, max_examples=40)
def test_folder_and_table_of_it_agree(tmp_path_factory, build, rows, classes, as_json):
    """Any class names and sizes: the same lists, and every image in exactly one of them."""
    folder = tmp_path_factory.mktemp("own")
    listed = []
    for name, count in classes.items():
        (folder / name).mkdir()
        for i in range(count):
            (folder / name / f"{i}.JPG").touch()
            listed.append({"path": f"{name}/{i}.JPG", "classname": name})
    table = folder / f"t.{'jsonl' if as_json else 'csv'}"
    with open(table, "w", newline="", encoding="utf-8") as file:
        if as_json:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in listed)
        else:
            writer = csv.DictWriter(file, listed[0])
            writer.writeheader()
            writer.writerows(listed)
    loaders = build("", "ImageFolder", FOLDER=folder), build("", "Table", FOLDER=folder, TABLE=table.name)
    ours, theirs = ([rows(loader, part) for part in PARTS] for loader in loaders)
    assert sorted(sum(map(paths, ours), [])) == sorted(row["path"] for row in listed)
    assert list(map(sorted, ours)) == list(map(sorted, theirs))
    assert loaders[0].classnames == loaders[1].classnames == [n.replace("_", " ") for n in sorted(classes)]


def test_links_to_images_serve(mine):
    mine.images("", "ab")
    mine.path.joinpath("a/00.png").rename(mine.path.parent / "image.png")
    os.symlink(mine.path.parent / "image.png", Path(mine.path, "a/00.png"))
    assert sum(map(len, mine.read()[0])) == 20
