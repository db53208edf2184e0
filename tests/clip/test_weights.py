"""Weights files: every kind that is read, and what is said about those that cannot be."""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import clip
from clip.model import CLIP
from clip.state_dict import VOCABULARY_SIZE, read_state_dict
from clip.weights import resolve
from tests.damage import damages

TEXT = (7, 30, 64, 1, 1)  # context, vocabulary, width, heads, layers
SIZES = {  # embed_dim, resolution, image layers, image width, patch
    "ViT": (16, 16, 2, 64, 8, *TEXT),
    "RN": (6, 64, (2, 1, 1, 1), 4, None, *TEXT),
    "RN50x4-like": (6, 96, (1, 2, 2, 1), 10, None, *TEXT),  # width 10 gives five heads, as 80 gives forty
}
KINDS = ("zip", "old", "safetensors", "torchscript")
METADATA = ("input_resolution", "context_length", "vocab_size")
pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")


def tiny(family="ViT") -> CLIP:
    torch.manual_seed(0)
    return CLIP(*SIZES[family]).eval()


def save_torchscript(model: CLIP, path: Path) -> None:
    """As OpenAI's archives: a traced program whose state dict holds the weights and three numbers."""
    side = model.visual.input_resolution
    for name, value in zip(METADATA, (side, 7, 30), strict=True):
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    texts = torch.tensor([[28, 3, 29, 0, 0, 0, 0]])
    torch.jit.trace(model, (torch.zeros(1, 3, side, side), texts), check_trace=False).save(path)


def same(found, expected) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], v) for k, v in expected.items())


@pytest.fixture(params=SIZES)
def weights(request):
    return tiny(request.param).state_dict()


@pytest.mark.parametrize("family", SIZES)
def test_torchscript_archive(family, tmp_path):
    model = tiny(family)
    expected = model.state_dict()
    save_torchscript(model, tmp_path / "archive.pt")
    assert set(METADATA) <= set(torch.jit.load(tmp_path / "archive.pt").state_dict())
    found = read_state_dict(tmp_path / "archive.pt")
    assert same(found, expected)
    assert same(clip.build_model(found, torch.float32).state_dict(), expected)


def test_plain_state_dict(weights, tmp_path):
    extra = {name: torch.tensor(7) for name in METADATA}
    torch.save({**weights, **extra}, tmp_path / "plain.pt")
    assert same(read_state_dict(tmp_path / "plain.pt"), weights)


def test_old_format_of_torch_save(weights, tmp_path):
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(read_state_dict(str(tmp_path / "old.pt")), weights)


def test_safetensors_whatever_the_suffix(weights, tmp_path):
    for name in ("w.safetensors", "w.pt"):
        save_file(weights, tmp_path / name)
        assert same(read_state_dict(tmp_path / name), weights)


def test_dtypes_are_those_of_the_file(tmp_path):
    save_file({k: v.half() for k, v in tiny().state_dict().items()}, tmp_path / "half.safetensors")
    assert {v.dtype for v in read_state_dict(tmp_path / "half.safetensors").values()} == {torch.float16}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_open_clip_training_checkpoint(weights, prefix, tmp_path):
    state = {prefix + k: v for k, v in {**weights, "attn_mask": torch.zeros(7, 7)}.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, tmp_path / "epoch_3.pt")
    assert same(read_state_dict(tmp_path / "epoch_3.pt"), weights)


def test_open_clip_custom_text(weights, tmp_path):
    outside = ("visual.", "logit_scale")
    state = {k if k.startswith(outside) else f"text.{k}": v for k, v in weights.items()}
    save_file(state | {"text.attn_mask": torch.zeros(7, 7)}, tmp_path / "custom.safetensors")
    assert same(read_state_dict(tmp_path / "custom.safetensors"), weights)


def test_logit_scale_may_be_a_list_of_one(weights, tmp_path):
    save_file(weights | {"logit_scale": weights["logit_scale"][None]}, tmp_path / "w.safetensors")
    assert same(read_state_dict(tmp_path / "w.safetensors"), weights)


def test_batch_norm_counters_may_be_absent(tmp_path):
    weights = tiny("RN").state_dict()
    save_file({k: v for k, v in weights.items() if "num_batches" not in k}, tmp_path / "w.safetensors")
    assert same(read_state_dict(tmp_path / "w.safetensors"), weights)


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(0, VOCABULARY_SIZE - 1), min_size=1, max_size=20), st.randoms())
def test_compact_vocabulary(ids, random):
    ids = random.sample(sorted(ids), len(ids))
    weights = tiny().state_dict()
    del weights["token_embedding.weight"]
    rows = torch.randn(len(ids), 64)
    compact = {"token_embedding.ids": torch.tensor(ids, dtype=torch.int32), "token_embedding.rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        save_file({**weights, **compact}, Path(folder) / "w.safetensors")
        found = read_state_dict(Path(folder) / "w.safetensors")
    full = found.pop("token_embedding.weight")
    assert same(found, weights) and full.shape == (VOCABULARY_SIZE, 64)
    assert torch.equal(full[ids], rows)
    assert int(full.any(dim=1).sum()) == len(ids)


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        ([1, 1], 2, "different numbers"),
        ([0, VOCABULARY_SIZE], 2, "from 0 to 49407"),
        ([-1, 5], 2, "from 0 to 49407"),
        ([1, 2, 3], 2, "compact vocabulary needs"),
        (None, 2, "compact vocabulary needs"),
    ],
)
def test_bad_compact_vocabulary(ids, rows, message, tmp_path):
    state = tiny().state_dict() | {"token_embedding.rows": torch.zeros(rows, 64)}
    if ids is not None:
        state["token_embedding.ids"] = torch.tensor(ids)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "w.safetensors")


class Bomb:
    """A pickle that makes a folder where it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(ValueError) as caught:
        read_state_dict(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line
    return line


@pytest.mark.parametrize("form", ["pickle", "torch", "old torch", "inside a state dict"])
def test_pickles_are_not_run(form, tmp_path):
    path, mark = tmp_path / "bomb.pt", tmp_path / "mark"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        content = tiny().state_dict() | {"bomb": Bomb(mark)} if form == "inside a state dict" else Bomb(mark)
        torch.save(content, path, _use_new_zipfile_serialization=form != "old torch")
    assert "holds more than tensors" in refused(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists(), "the bomb must be one"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<!DOCTYPE html><html>404</html>", b"\x80\x02.", b"{}"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "foreign.pt").write_bytes(content)
    refused(tmp_path / "foreign.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a CLIP state dict, found dict without weights"),
        ([torch.zeros(2)], "found list"),
        ({"epoch": 3}, "'epoch' is of type int"),
        ({5: torch.zeros(2)}, "5 is of type Tensor"),
        ({"features.0": torch.zeros(2)}, "not a CLIP state dict"),
    ],
)
def test_other_contents_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    assert message in refused(tmp_path / "other.pt")


@pytest.mark.parametrize("family", SIZES)
def test_keys_and_shapes_are_exact(family, tmp_path):
    path, weights = tmp_path / "w.safetensors", tiny(family).state_dict()
    wrong = dict(weights)
    del wrong["ln_final.bias"]
    wrong["logit_bias"] = torch.zeros(1)
    wrong["transformer.resblocks.0.ln_1.weight"] = torch.zeros(63)
    save_file(wrong, path)
    line = refused(path)
    assert "ln_final.bias is missing" in line
    assert "logit_bias is unexpected" in line
    assert "transformer.resblocks.0.ln_1.weight is [63], not [64]" in line


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_key_is_needed(data):
    weights = tiny(data.draw(st.sampled_from(sorted(SIZES)))).state_dict()
    key = data.draw(st.sampled_from(sorted(k for k in weights if "num_batches" not in k)))
    broken = {k: v for k, v in weights.items() if k != key}
    if data.draw(st.booleans()):
        broken[key] = torch.zeros(data.draw(st.lists(st.integers(0, 5), max_size=5).filter(lambda s: 64 not in s)))
    with tempfile.TemporaryDirectory() as folder:
        save_file(broken, Path(folder) / "w.safetensors")
        found = broken.get(key)
        if found is None or found.shape not in (weights[key].shape, (1,) if key == "logit_scale" else None):
            refused(Path(folder) / "w.safetensors")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one good file of each kind."""
    folder, weights = tmp_path_factory.mktemp("good"), tiny().state_dict()
    torch.save(weights, folder / "zip")
    torch.save(weights, folder / "old", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "safetensors")
    save_torchscript(tiny(), folder / "torchscript")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_cut_and_flipped_at_random_places(kind, files, tmp_path):
    """200 flipped bits and 50 cuts: refused, or read as it was written; without checksums a number may be another."""
    sound, whole = read_state_dict(files / kind), (files / kind).read_bytes()
    path, outcomes = tmp_path / "damaged.pt", {"refused": 0, "as written": 0, "other numbers": 0}
    for cut, damaged in damages(whole):
        path.write_bytes(damaged)
        try:
            found = read_state_dict(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            outcomes["refused"] += 1
            continue
        assert not cut and shapes(found) == shapes(sound)
        outcomes["as written" if same(found, sound) else "other numbers"] += 1
    print(kind, outcomes)
    assert outcomes["refused"] >= 50
    assert kind in ("old", "safetensors") or not outcomes["other numbers"]


def test_a_damaged_compressed_part_is_refused(tmp_path):
    """TorchScript archives hold some."""
    path, name = tmp_path / "damaged.pt", "a/code/model.py"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, "pass\n" * 100)
        archive.writestr("a/constants.pkl", b"")
    content = bytearray(path.read_bytes())
    content[30 + len(name)] = 0xFF  # the first byte of what is compressed: no such kind of block
    path.write_bytes(content)
    assert "(error: Error -3 while decompressing data" in refused(path)


def shapes(tensors):
    return {key: value.shape for key, value in tensors.items()}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_headers_are_refused_or_read(files, data):
    """Headers and directories, where a reader is led astray; in between there are mostly numbers."""
    damaged = bytearray((files / data.draw(st.sampled_from(KINDS))).read_bytes())
    edge = min(3000, len(damaged))
    position = data.draw(st.integers(0, edge - 1) | st.integers(len(damaged) - edge, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.pt"
        path.write_bytes(bytes(damaged))
        try:
            read_state_dict(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_missing_file(tmp_path):
    for function in (read_state_dict, resolve):
        with pytest.raises(FileNotFoundError, match=r"no weights file .*gone\.pt"):
            function(tmp_path / "gone.pt")


def test_a_path_is_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "w").write_bytes(b"")
    assert resolve(tmp_path / "w") == resolve(str(tmp_path / "w")) == tmp_path / "w"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/w") == tmp_path / "w"


@pytest.mark.parametrize(
    ("name", "nearest"), [("ViT-B-16", "ViT-B/16"), ("vit-l/14", "ViT-L/14"), ("RN5O", "RN50"), ("embeded", "embedded")]
)
def test_unknown_name_gets_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'.*RN50x64.*embedded"):
        resolve(name)


def test_name_near_to_nothing():
    with pytest.raises(ValueError, match="neither a CLIP model nor a weights file; Models: RN50, "):
        resolve("123456789")
