"""Few-shot splits as files: written, compared, and never another selection in silence."""

from __future__ import annotations

import json
import random
import stat
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.shared import fewshot
from datasets.shared.files import Item, Splits

PARTS = ("train_x", "val", "test")
SAY = "DescribableTextures: few-shot split (4 shots, seed 1): "


@pytest.fixture
def textures(build, make_tree, rows, tmp_path, capsys):
    """``textures()``: train and val of a 4-shot run with seed 1, and the lines it said about its split."""
    make_tree("DescribableTextures", tmp_path)
    build(tmp_path, "DescribableTextures")

    def run(shots=4, seed=1, **settings):
        capsys.readouterr()
        loader = build(tmp_path, "DescribableTextures", shots, seed, **settings)
        lines = capsys.readouterr().out.splitlines()
        about = [line for line in lines if "few-shot" in line or line.startswith("note")]
        return [rows(loader, part) for part in PARTS[:2]], about

    run.path = tmp_path / "dtd/split_fewshot/shot_4-seed_1.jsonl"
    run.split = tmp_path / "dtd/split_zhou_DescribableTextures.json"
    return run


def change(path, **header):
    """Another header, with a checksum that fits."""
    found = fewshot.read(str(path))
    fewshot.write(str(path), {**found.header, **header}, found.records)


def test_a_draw_is_saved_and_found_again(textures):
    drawn, said = textures()
    assert said == [f"{SAY}drawn and saved as {textures.path}"]
    header, *records = map(json.loads, textures.path.read_text().splitlines())
    checksum = header.pop("sha256")
    assert len(checksum) == 64 and checksum != header["split_sha256"]
    assert header == {
        "format": "few-shot split",
        "dataset": "DescribableTextures",
        "shots": 4,
        "seed": 1,
        "rule": "coop-1",
        "source": "draw",
        "split": "split_zhou_DescribableTextures.json",
        "split_sha256": fewshot.hashlib.sha256(textures.split.read_bytes()).hexdigest(),
        "classnames": ["banded", "blotchy", "braided", "bubbly"],
    }
    listed = [
        [[r["path"].removeprefix("images/"), r["label"], r["classname"]] for r in records if r["part"] == part]
        for part in ("train", "val")
    ]
    assert listed == drawn and [len(part) for part in drawn] == [16, 8]
    assert all(record["path"].startswith("images/") for record in records)

    before = textures.path.stat()
    assert textures() == (drawn, [f"{SAY}as in {textures.path}"])
    assert textures.path.stat() == before, "a file that fits is not written again"
    assert [path.name for path in textures.path.parent.iterdir()] == [textures.path.name]
    assert stat.S_IMODE(before.st_mode) & 0o044 == 0o044 & ~_umask()


def _umask():
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_base_and_new_share_the_file_of_all_classes(textures):
    whole, _ = textures()
    content = textures.path.read_bytes()
    for subset in ("base", "new"):
        _, said = textures(subset=subset)
        assert said == [f"{SAY}as in {textures.path}"]
    assert textures.path.read_bytes() == content and len(whole[0]) == 16


def test_a_changed_split_file_makes_it_stale(textures):
    first, _ = textures()
    split = json.loads(textures.split.read_text())
    textures.split.write_text(json.dumps({**split, "train": split["train"][::-1]}))
    second, said = textures()
    problem = "its split_sha256 is another"
    assert said == [f"{SAY}{textures.path} is stale ({problem}), so drawn anew and replaced"]
    assert second != first
    assert textures() == (second, [f"{SAY}as in {textures.path}"])


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"rule": "coop-0"}, "its rule is 'coop-0', not 'coop-1'"),
        ({"split": "lists"}, "its split is 'lists', not 'split_zhou_DescribableTextures.json'"),
        ({"classnames": ["banded", "blotchy", "brained"]}, "its classnames is another"),
    ],
)
def test_other_stale_headers(header, problem, textures):
    drawn, _ = textures()
    change(textures.path, **header)
    assert textures() == (drawn, [f"{SAY}{textures.path} is stale ({problem}), so drawn anew and replaced"])


def test_another_selection_under_a_right_header_is_stale(textures):
    drawn, _ = textures()
    found = fewshot.read(str(textures.path))
    fewshot.write(str(textures.path), found.header, found.records[::-1])
    said = f"{SAY}{textures.path} is stale (it lists other images), so drawn anew and replaced"
    assert textures() == (drawn, [said])


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"dataset": "Food101"}, "its dataset is 'Food101', not 'DescribableTextures'"),
        ({"shots": 8}, "its shots is 8, not 4"),
        ({"seed": 2}, "its seed is 2, not 1"),
    ],
)
def test_a_foreign_file_is_neither_used_nor_touched(header, problem, textures):
    drawn, _ = textures()
    change(textures.path, **header)
    content = textures.path.read_bytes()
    assert textures() == (drawn, [f"{SAY}drawn; {textures.path} is not used and left as it is ({problem})"])
    assert textures.path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\x80\x04}q\x00.", b"[1]\n", b'{"train": []}', b"{" * 9999, b"9" * 9999])
def test_something_else_in_its_place_is_an_error(content, textures):
    textures()
    textures.path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        textures()
    assert str(caught.value).startswith(f"{textures.path} is no few-shot split or damaged (")
    assert "delete it to have the split drawn" in str(caught.value)
    assert textures.path.read_bytes() == content


def test_truncated_and_flipped_at_random_places(textures):
    """400 damages: a named error, or a redraw that is announced; a selection is always the seed's."""
    drawn, said = textures()
    whole = textures.path.read_bytes()
    rng = random.Random(4)
    outcomes = {"error": 0, "redrawn": 0, "used": 0}
    for number in range(400):
        place = rng.randrange(len(whole))
        bits = rng.randrange(1, 256)
        if number % 2:
            textures.path.write_bytes(whole[:place])
        else:
            textures.path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
        try:
            found, said = textures()
        except ValueError as error:
            assert str(textures.path) in str(error) and "\n" not in str(error)
            outcomes["error"] += 1
            continue
        assert found == drawn
        if said == [f"{SAY}as in {textures.path}"]:
            outcomes["used"] += 1  # a blank of the header turned into another: the same content
            continue
        assert len(said) == 1 and "so drawn anew and replaced" in said[0]
        assert textures.path.read_bytes() == whole
        outcomes["redrawn"] += 1
    print(outcomes)
    assert outcomes["error"] > 20 and outcomes["redrawn"] > 200 and outcomes["used"] <= 4


def test_an_unwritable_folder_is_said(textures, monkeypatch):
    def refuse(path, text):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("datasets.shared.fewshot.write_atomically", refuse)
    drawn, (line,) = textures()
    assert line.startswith(f"{SAY}drawn, but not saved ([Errno 13] Permission denied")
    assert [len(part) for part in drawn] == [16, 8] and not textures.path.exists()


def test_a_full_disk_leaves_the_old_file(textures, monkeypatch):
    drawn, _ = textures()
    change(textures.path, rule="coop-0")
    content = textures.path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.shared.files.os.fsync", full)
    found, (line,) = textures()
    assert found == drawn and line.endswith("so drawn anew, but not saved ([Errno 28] No space left on device)")
    assert textures.path.read_bytes() == content
    assert [path.name for path in textures.path.parent.iterdir()] == [textures.path.name]


def test_without_a_seed_nothing_is_saved(textures):
    _, said = textures(seed=-1)
    assert said == ["DescribableTextures: few-shot split (4 shots, seed -1): drawn without a seed, so not saved"]
    assert not textures.path.parent.exists()


def test_coops_pickle_is_told(textures):
    textures.path.parent.mkdir()
    textures.path.with_suffix(".pkl").write_bytes(b"")
    _, said = textures()
    note = f"note: {textures.path.with_suffix('.pkl')} is CoOp's and not read"
    assert said == [f"{note}: python mmrl.py import-fewshot imports it", f"{SAY}drawn and saved as {textures.path}"]


def test_imagenets_validation_images_are_not_listed(build, make_tree, tmp_path):
    make_tree("ImageNet", tmp_path)
    build(tmp_path, "ImageNet", shots=2)
    found = fewshot.read(str(tmp_path / "imagenet/split_fewshot/shot_2-seed_1.jsonl"))
    assert len(found.records) == 8 and {record["part"] for record in found.records} == {"train"}
    assert found.header["split"] == "lists"


def test_the_lists_digest_sees_what_is_drawn_from():
    items = [Item(f"{i}.jpg", i, f"c{i}") for i in range(3)]
    base = fewshot.lists_digest(Splits(items, items[:1], items))
    assert base == fewshot.lists_digest(Splits(items, items[:1], []))
    others = [Splits(items, [], items), Splits(items[::-1], items[:1], items), Splits(items + items[:1], [], items)]
    others.append(Splits([items[0]._replace(classname="d"), *items[1:]], items[:1], items))
    assert base not in map(fewshot.lists_digest, others)
    # ImageNet: a validation list that is the test list is not drawn from.
    few = items[:1]
    assert fewshot.lists_digest(Splits(items, items, items)) == fewshot.lists_digest(Splits(items, few, few))


NAMES = st.text(min_size=1, max_size=12)


@given(st.lists(st.tuples(NAMES, st.integers(0, 5), NAMES), max_size=8), st.integers(1, 64), st.integers(0, 2**40))
@settings(deadline=None, max_examples=60)
def test_any_names_come_back(tmp_path_factory, rows, shots, seed):
    path = str(tmp_path_factory.mktemp("any") / "file.jsonl")
    items = [Item(*row) for row in rows]
    belonging = fewshot.Belonging("X", shots, seed, "lists", "0" * 64, tuple(i.classname for i in items), "images")
    content = belonging.header(fewshot.DRAWN), belonging.records(items[:5], items[5:])
    fewshot.write(path, *content)
    assert fewshot.read(path) == content


def draw_at_once(build, root, barrier, sizes):
    barrier.wait()
    sizes.put(len(build(root, "DescribableTextures", shots=4).train_x))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_at_once(textures, build, tmp_path):
    context = get_context("fork")
    barrier, sizes = context.Barrier(2), context.SimpleQueue()
    children = [context.Process(target=draw_at_once, args=(build, tmp_path, barrier, sizes)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0] and sizes.get() == sizes.get() == 16
    assert textures()[1] == [f"{SAY}as in {textures.path}"]
