"""CoOp's few-shot pickles: imported to the image, and harmless whatever stands in them."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import import_fewshot
from dassl.data.datasets import Datum
from datasets.prepare.coop_pickle import Row, read_pickle, to_records
from datasets.shared import fewshot
from datasets.shared.files import Item, Splits

ROOT = Path(__file__).resolve().parents[2]
SAY = "DescribableTextures: few-shot split (4 shots, seed 1): "
ELSEWHERE = "/home/someone/CoOp/data/dtd/images"


def datum(impath, label, classname):
    """Dassl's record of an image that is not here, as a pickle of another machine holds it."""
    record = object.__new__(Datum)
    record.__dict__.update(_impath=impath, _label=label, _domain=0, _classname=classname)
    return record


def coops(rows, folder=ELSEWHERE, join="/"):
    """CoOp's lists for rows of path in the image root, label and class name."""
    return [datum(folder + join + path.replace("/", join), label, name) for path, label, name in rows]


@pytest.fixture
def textures(build, make_tree, rows, tmp_path, capsys):
    """A small set of textures; ``lists(shots)`` another machine's draw, ``run()`` what a 4-shot run trains on."""
    make_tree("DescribableTextures", tmp_path)
    full = build(tmp_path, "DescribableTextures")

    class Set:
        path = tmp_path / "dtd/split_fewshot/shot_4-seed_1.jsonl"
        pickle = tmp_path / "old/shot_4-seed_1.pkl"
        train, val = rows(full, "train_x"), rows(full, "val")

        def lists(self):
            rng = random.Random(77)
            by_class = [[row for row in self.train if row[1] == label] for label in (2, 0, 3, 1)]
            return {
                "train": [row for group in by_class for row in rng.sample(group, 4)],
                "val": [row for row in self.val if row[1] == 1][:2],
            }

        def save(self, content, protocol=4):
            self.pickle.parent.mkdir(exist_ok=True)
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol)
            self.pickle.write_bytes(data)

        def command(self, *words):
            capsys.readouterr()
            status = import_fewshot.main([*map(str, words), "--root", str(tmp_path)])
            return status, *capsys.readouterr()

        def import_it(self, *words):
            return self.command(self.pickle, "--dataset", "dtd", *words)

        def refused(self, *words):
            """The one line of a refusal that leaves nothing."""
            before = self.path.read_bytes() if self.path.exists() else None
            status, out, err = self.import_it(*words)
            assert status == 1 and not out and err.startswith("error: ") and err.count("\n") == 1, (out, err)
            assert before == (self.path.read_bytes() if self.path.exists() else None)
            return err[len("error: ") : -1]

        def run(self, **settings):
            capsys.readouterr()
            loader = build(tmp_path, "DescribableTextures", 4, **settings)
            lines = [line for line in capsys.readouterr().out.splitlines() if "few-shot split" in line]
            return {"train": rows(loader, "train_x"), "val": rows(loader, "val")}, lines

    return Set()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("folder", "join"), [(ELSEWHERE, "/"), ("D:\\data\\dtd\\images", "\\"), ("dtd/images", "/")])
def test_a_run_trains_on_the_imported_images_in_their_order(folder, join, protocol, textures):
    lists = textures.lists()
    textures.save({part: coops(rows, folder, join) for part, rows in lists.items()}, protocol)
    status, out, err = textures.import_it()
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"DescribableTextures: imported 18 images of 4 shots as {textures.path}"
    header = json.loads(textures.path.read_text().splitlines()[0])
    assert (header["source"], header["seed"], header["shots"]) == ("coop-pickle", 1, 4)
    said = f"{SAY}{textures.path}, imported from CoOp: other images than the seed draws"
    assert textures.run() == (lists, [said])
    base, _ = textures.run(subset="base")
    assert base["train"] == [row for row in lists["train"] if row[1] < 2]


def test_an_import_of_the_seeds_own_draw_says_so(textures):
    drawn, _ = textures.run()
    textures.save({part: coops(rows) for part, rows in drawn.items()})
    assert textures.import_it()[0] == 0, "a draw that was saved gives way"
    assert textures.run() == (drawn, [f"{SAY}{textures.path}, imported from CoOp: the same images as the seed draws"])


def test_a_second_import(textures):
    lists = textures.lists()
    textures.save({part: coops(rows) for part, rows in lists.items()})
    assert textures.import_it()[0] == textures.import_it()[0] == 0
    textures.save({part: coops(rows[::-1]) for part, rows in lists.items()})
    assert (
        textures.refused()
        == f"{textures.path} was imported before and is another: delete it to import {textures.pickle}"
    )


def test_all_pickles_of_the_data_set_or_one_of_another_name(textures, tmp_path):
    lists = {part: coops(rows) for part, rows in textures.lists().items()}
    folder = textures.path.parent
    status, _, err = textures.command("--dataset", "dtd")
    assert (status, err) == (1, f"error: there is no shot_K-seed_S.pkl in {folder}: name the files to import\n")
    folder.mkdir()
    for seed in (1, 2):
        (folder / f"shot_4-seed_{seed}.pkl").write_bytes(pickle.dumps(lists))
    (folder / "notes.pkl").write_bytes(b"no pickle")
    assert textures.command("--dataset", "DescribableTextures")[0] == 0
    assert sorted(p.name for p in folder.glob("*.jsonl")) == ["shot_4-seed_1.jsonl", "shot_4-seed_2.jsonl"]
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(lists))
    status, _, err = textures.command(tmp_path / "mine.pkl", "--dataset", "dtd")
    assert err == f"error: {tmp_path}/mine.pkl is not called shot_K-seed_S.pkl: give --shots and --seed\n"
    assert textures.command(tmp_path / "mine.pkl", "--dataset", "dtd", "--shots", 4, "--seed", 3)[0] == 0
    assert (folder / "shot_4-seed_3.jsonl").exists()


def test_one_bad_pickle_of_several_and_none_is_imported(textures):
    folder = textures.path.parent
    folder.mkdir()
    lists = {part: coops(rows) for part, rows in textures.lists().items()}
    (folder / "shot_4-seed_1.pkl").write_bytes(pickle.dumps(lists))
    (folder / "shot_8-seed_1.pkl").write_bytes(pickle.dumps(lists))
    assert textures.command("--dataset", "dtd")[0] == 1
    assert not list(folder.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda lists: [lists["train"].__setitem__(i, [f"banded/gone_{i}.jpg", 0, "banded"]) for i in range(5)],
            f"5 images are not in the train list of {{of}}: {ELSEWHERE}/banded/gone_0.jpg,"
            f" {ELSEWHERE}/banded/gone_1.jpg, {ELSEWHERE}/banded/gone_2.jpg and 2 more; nothing is imported",
        ),
        (lambda lists: lists["val"].append(lists["train"][0]), "1 image is not in the val list of {of}: "),
        (
            lambda lists: lists["train"].__setitem__(0, [lists["train"][0][0], 1, "braided"]),
            "1 image is of another label or class name of {of}: ",
        ),
        (
            lambda lists: lists["train"].__setitem__(0, [lists["train"][0][0], 2, "plaited"]),
            "1 image is of another label or class name of {of}: ",
        ),
        (
            lambda lists: lists["train"].__setitem__(1, lists["train"][0]),
            "1 image is more than once in train of {of}: ",
        ),
        (
            lambda lists: lists["train"].pop(),
            "class 'blotchy' has 3 training images, 4 shots are 4; nothing is imported",
        ),
    ],
)
def test_images_that_do_not_fit(edit, message, textures):
    lists = textures.lists()
    edit(lists)
    textures.save({part: coops(rows) for part, rows in lists.items()})
    message = message.format(of="DescribableTextures (split_zhou_DescribableTextures.json)")
    assert textures.refused().startswith(f"{textures.pickle}: {message}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "it must hold the lists 'train' and 'val'"),
        ({"test": []}, "it must hold the lists 'train' and 'val'"),
        ({"train": [], "test": []}, "it must hold the lists 'train' and 'val'"),
        ({"train": "abc", "val": []}, "its 'train' is not a list of Dassl's Datum"),
        ({"train": [["a.jpg", 0, "a"]], "val": []}, "its 'train' is not a list of Dassl's Datum"),
        ({"train": [datum(b"a.jpg", 0, "a")], "val": []}, "a record has other fields than Dassl's"),
        ({"train": [datum("a.jpg", True, "a")], "val": []}, "a record has other fields than Dassl's"),
        (b"", "damaged (Ran out of input)"),
        (b"not a pickle", "damaged ("),
        (pickle.dumps({"train": [Datum]}), "its 'train' is not a list of Dassl's Datum"),
    ],
)
def test_other_content(content, reason, textures):
    textures.save(content)
    line = textures.refused()
    assert line.startswith(f"{textures.pickle} is not a few-shot pickle of CoOp") and reason in line


def test_imagenet_has_training_images_only(textures, build, make_tree, rows, tmp_path):
    make_tree("ImageNet", tmp_path)
    train = [row for label in range(4) for row in rows(build(tmp_path, "ImageNet"), "train_x") if row[1] == label][::6]
    textures.save({"train": coops(train, "/data/imagenet/images")})
    command = [textures.pickle, "--dataset", "imagenet", "--shots", 1, "--seed", 5]
    status, out, err = textures.command(*command)
    assert (status, err) == (0, "")
    loader = build(tmp_path, "ImageNet", shots=1, seed=5)
    assert rows(loader, "train_x") == train and len(loader.val) == 20
    textures.save({"train": coops(train, "/data/imagenet/images"), "val": []})
    assert "for ImageNet it must be train\n" in textures.command(*command)[2]
    textures.save({"train": coops(textures.lists()["train"])})
    assert textures.refused().endswith("holds train; for DescribableTextures it must be train and val")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--dataset", "dtt"], "there is no dataset 'dtt': did you mean DescribableTextures?"),
        (["--dataset", "ImageFolder"], "--dataset ImageFolder: name the YAML file that says where your data is"),
        (["--dataset", "none.yaml"], "[Errno 2] No such file or directory: 'none.yaml'"),
    ],
)
def test_unknown_data_sets(words, line, textures):
    assert textures.command("x.pkl", *words) == (1, "", f"error: {line}\n")


def test_sets_for_testing_only_have_no_few_shot_splits(textures, make_tree, tmp_path):
    make_tree("ImageNetA", tmp_path)
    textures.save({"train": []})
    line = "error: ImageNetA is for testing only: it has no few-shot splits\n"
    status, _, err = textures.command(textures.pickle, "--dataset", "imagenet_a")
    assert (status, err) == (1, line)


def test_own_data_by_its_yaml(textures, build, rows, touch, tmp_path):
    touch(tmp_path / "mine", [f"{name}/{i}.png" for name in ("x_y", "z") for i in range(10)])
    (tmp_path / "mine.yaml").write_text(f"DATASET:\n  NAME: ImageFolder\n  FOLDER: {tmp_path}/mine\n")
    full = build(tmp_path, "ImageFolder", FOLDER=tmp_path / "mine")
    train = [rows(full, "train_x")[i] for i in (4, 1, 7, 9)]
    textures.save({"train": coops(train, "/far/mine"), "val": coops(rows(full, "val"), "/far/mine")})
    words = [textures.pickle, "--shots", 2, "--seed", 1, "--dataset", tmp_path / "mine.yaml"]
    assert textures.command(*words)[0] == 0
    assert rows(build(tmp_path, "ImageFolder", 2, FOLDER=tmp_path / "mine"), "train_x") == train
    for content in ("DATASET: 3", "DATASET: {FOLDER: x}", "[", "DATASET: {NAME: 3}"):
        (tmp_path / "mine.yaml").write_text(content)
        status, _, err = textures.command(*words)
        assert status == 1 and err.startswith(f"error: {tmp_path}/mine.yaml ") and err.count("\n") == 1


def test_the_longest_tail_of_a_path_decides():
    """A dataset in which one image's path is the end of another's."""
    items = [Item(path, label, f"c{label}") for path, label in (("b/0.jpg", 0), ("a/b/0.jpg", 1))]
    belonging = fewshot.Belonging("X", 1, 1, "lists", "0" * 64, ("c0", "c1"))
    rows = [Row("/there/a/b/0.jpg", 1, "c1"), Row("/there/b/0.jpg", 0, "c0")]
    records = to_records("x.pkl", {"train": rows, "val": []}, belonging, Splits(items, [], items))
    assert [record["path"] for record in records] == ["a/b/0.jpg", "b/0.jpg"]


# After the import


@pytest.fixture
def imported(textures):
    textures.save({part: coops(rows) for part, rows in textures.lists().items()})
    assert textures.import_it()[0] == 0
    return textures


def test_an_import_of_other_lists_is_an_error(imported, tmp_path):
    split = tmp_path / "dtd/split_zhou_DescribableTextures.json"
    split.write_text(split.read_text() + "\n")
    with pytest.raises(ValueError) as caught:
        imported.run()
    assert str(caught.value) == (
        f"{imported.path} was imported from CoOp for other lists (its split_sha256 is another): import it again, or"
        " delete it to have the split drawn"
    )


def test_an_import_under_another_name_is_an_error(imported):
    imported.path.rename(imported.path.with_name("shot_4-seed_2.jsonl"))
    with pytest.raises(ValueError, match=r"shot_4-seed_2.jsonl was imported .* \(its seed is 1, not 2\)"):
        imported.run(seed=2)


def test_a_record_that_is_not_in_the_lists_is_an_error(imported):
    found = fewshot.read(str(imported.path))
    found.records[3]["path"] = "images/banded/gone.jpg"
    fewshot.write(str(imported.path), *found)
    with pytest.raises(ValueError, match="jsonl: images/banded/gone.jpg is not in the train list as it stands there"):
        imported.run()


def test_a_damaged_import_is_never_replaced_by_a_draw(imported):
    """300 damages: an error, or the import as it was."""
    lists, said = imported.run()
    whole = imported.path.read_bytes()
    rng = random.Random(5)
    errors = 0
    for number in range(300):
        place = rng.randrange(len(whole))
        flipped = whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :]
        damaged = whole[:place] if number % 2 else flipped
        imported.path.write_bytes(damaged)
        try:
            assert imported.run() == (lists, said)
        except ValueError as error:
            assert str(imported.path) in str(error) and "\n" not in str(error)
            errors += 1
        assert imported.path.read_bytes() == damaged
    assert errors >= 296


# Pickles that want more


class Bomb:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "asked"),
    [
        (os.system, ("touch {mark}",), f"{os.system.__module__}.system"),
        (subprocess.Popen, (["touch", "{mark}"],), "subprocess.Popen"),
        (builtins.eval, ("open('{mark}', 'w')",), "builtins.eval"),
        (builtins.exec, ("open('{mark}', 'w')",), "builtins.exec"),
        (builtins.getattr, ([], "append"), "builtins.getattr"),
        (os.remove, ("{mark}",), f"{os.remove.__module__}.remove"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_bomb_is_refused_with_what_it_asked_for(function, arguments, asked, protocol, hidden, textures, tmp_path):
    mark = tmp_path / "executed"
    filled = tuple(
        [word.format(mark=mark) for word in a] if isinstance(a, list) else a.format(mark=mark) if a else a
        for a in arguments
    )
    bomb = Bomb(function, *filled)
    lists = {part: coops(rows) for part, rows in textures.lists().items()}
    textures.save({**lists, "val": [*lists["val"], bomb]} if hidden else bomb, protocol)
    if protocol < 3:  # these spell Python 2's names
        asked = asked.replace("builtins", "__builtin__").replace("subprocess", "commands")
    line = textures.refused()
    reconstructor = "copy_reg._reconstructor"  # how protocols below 2 spell even an honest record
    wanted = reconstructor if protocol == 0 and hidden else asked
    assert line == (
        f"{textures.pickle} is refused: it asks for {wanted}, and only Dassl's Datum is admitted; nothing was run"
    )
    assert not mark.exists()


@pytest.mark.parametrize(
    "asked",
    [
        "dassl.data.datasets.base_dataset os",
        "dassl.data.datasets.base_dataset DatasetBase",
        "dassl.data.datasets.base_dataset Datum.__init__",
        "dassl.data.datasets.base_dataset.os system",
        "datasets.prepare.coop_pickle _Record",
    ],
)
def test_only_the_record_itself_is_admitted(asked, textures):
    module, name = asked.split()
    data = (
        pickle.PROTO
        + b"\x04"
        + b"".join(pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode() for text in (module, name))
    )
    textures.save(data + pickle.STACK_GLOBAL + pickle.STOP)
    assert f"is refused: it asks for {module}.{name}, and" in textures.refused()


def test_damaged_pickles_are_named(textures):
    """300 truncations and bit flips: an import of the same images, or one line."""
    lists = {part: coops(rows) for part, rows in textures.lists().items()}
    whole = pickle.dumps(lists)
    expected = {part: [(d._impath, d._label, d._classname) for d in records] for part, records in lists.items()}
    rng = random.Random(6)
    textures.save(b"")
    differing = 0
    for number in range(300):
        place = rng.randrange(len(whole))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        textures.save(whole[:place] if number % 2 else flipped)
        try:
            differing += read_pickle(str(textures.pickle)) != expected
        except ValueError as error:
            assert str(textures.pickle) in str(error) and "\n" not in str(error)
    assert differing < 100, "a flipped letter of a path is left to the comparison with the lists"


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "file.pkl"
    for content in (data, pickle.PROTO + b"\x04" + data):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="file.pkl is "):
            read_pickle(str(path))


def test_the_command_explains_itself():
    words = [sys.executable, "mmrl.py", "import-fewshot", "-h"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "nothing of it is executed" in done.stdout and not done.stderr


@pytest.mark.parametrize(
    "words", [["--dataset", "dtd", "--shots", "4"], ["a.pkl"], ["--dataset", "dtd", "--seed", "1"]]
)
def test_bad_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        import_fewshot.main(words)
    assert caught.value.code == 2 and "usage: python mmrl.py import-fewshot" in capsys.readouterr().err
