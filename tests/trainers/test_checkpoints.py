"""The file format of what was learned: what is written, found, refused."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from common.files import write_bytes
from dassl.engine import TrainerBase
from tests.damage import damages
from trainers.mmrl.variants import RepresentationLearner, RepresentationProjection
from trainers.settings import MMRLSettings
from trainers.shared import checkpoints
from trainers.tipadapter.method import read_tensor

ABOUT = {"method": "M", "epoch": 3, "classnames": ["Žluťásek", "cat"], "val_result": 100 / 3, "settings": {"A": [1, 2]}}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {"b.weight": torch.randn(3, 2, generator=generator), "a": torch.tensor(1.5)}


class Payload:
    """What a hostile file would run when it is unpickled."""

    def __reduce__(self):
        return print, ("executed",)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64]),
    text=st.text(max_size=20),
)
def test_what_is_written_is_read(tmp_path_factory, shape, dtype, text):
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    value = (10 * torch.randn(shape)).to(dtype)
    checkpoints.save(path, {"x": value.t() if value.dim() == 2 else value}, {"epoch": 1, "text": text})
    content, about = checkpoints.read(path)
    want = value.t() if value.dim() == 2 else value
    assert torch.equal(content["x"], want) and content["x"].dtype == dtype
    assert about == {"epoch": 1, "text": text, "format": 1}


def test_equal_content_makes_equal_files(tmp_path):
    for name, items in (("a", tensors().items()), ("b", reversed(tensors().items()))):
        checkpoints.save(tmp_path / f"{name}.safetensors", dict(items), ABOUT)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_every_damage_is_noticed(tmp_path):
    """200 flipped bits and 50 cuts of one file: an error that names it, each time."""
    path = tmp_path / "model-3.safetensors"
    checkpoints.save(path, tensors(), ABOUT)
    whole = path.read_bytes()
    for _, content in damages(whole):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="^cannot load checkpoint .*model-3.safetensors: damaged"):
            checkpoints.read(path)


@pytest.mark.parametrize("name", ["model.pth.tar-7", "keys_4shots.pt"])
def test_damage_to_official_files_is_noticed_or_without_effect(name, tmp_path):
    """Dassl's form and Tip-Adapter's cache: 200 flipped bits and 50 cuts are refused, or read as written."""
    path, refused = tmp_path / name, 0
    is_cache = name.endswith(".pt")
    torch.save(tensors()["b.weight"] if is_cache else {"state_dict": tensors(), "epoch": 7, "optimizer": {}}, path)
    read = read_tensor if is_cache else checkpoints.read
    whole, sound = path.read_bytes(), str(read(path))
    for cut, content in damages(whole):
        path.write_bytes(content)
        try:
            assert str(read(path)) == sound and not cut
        except ValueError as error:
            assert re.match(rf"cannot load (checkpoint )?{path}: damaged, or not a (checkpoint|tensor)", str(error))
            refused += 1
    print(f"{name}: {refused} of 250 refused, the others read as written")
    assert refused > 100


def test_files_that_are_something_else(tmp_path, capsys):
    path = tmp_path / "model-1.safetensors"
    save_file(tensors(), path)  # tensors that do not say what they are
    with pytest.raises(ValueError, match="model-1.safetensors: damaged, or not a checkpoint"):
        checkpoints.read(path)
    for bomb in (pickle.dumps(Payload()), pickle.dumps(Payload(), protocol=0)):
        path.write_bytes(bomb)
        with pytest.raises(ValueError, match="model-1.safetensors: damaged, or not a checkpoint"):
            checkpoints.read(path)
    old = tmp_path / "model.pth.tar-1"
    for content in ({"state_dict": {"a": Payload()}}, {"state_dict": {"a": 1}}, {"epoch": 1}):
        torch.save(content, old)
        with pytest.raises(ValueError, match="^cannot load checkpoint .*model.pth.tar-1: "):
            checkpoints.read(old)
    for content in (Payload(), {"a": tensors()["a"]}):
        torch.save(content, tmp_path / "keys_4shots.pt")
        with pytest.raises(ValueError, match="^cannot load .*keys_4shots.pt: "):
            read_tensor(tmp_path / "keys_4shots.pt")
    assert "executed" not in capsys.readouterr().out
    checkpoints.save(path, tensors(), ABOUT)
    facts = {**ABOUT, "format": checkpoints.FORMAT + 1}
    facts["digest"] = checkpoints.digest(tensors(), facts)
    save_file(tensors(), path, {"about": checkpoints.json.dumps(facts)})
    with pytest.raises(ValueError, match="a newer version of this project wrote it"):
        checkpoints.read(path)


def test_dassls_form_is_read(tmp_path):
    path = tmp_path / "model.pth.tar-7"
    torch.save({"state_dict": {f"module.{k}": v for k, v in tensors().items()}, "epoch": 7, "optimizer": {}}, path)
    content, about = checkpoints.read(path)
    assert content.keys() == tensors().keys() and about == {"epoch": 7}


def touch(folder: Path, *names: str) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name in names:
        (folder / name).touch()


def test_which_checkpoint_is_taken(tmp_path, capsys):
    def found(epoch=None):
        return checkpoints.find(tmp_path, epoch).name

    touch(tmp_path, "model-2.safetensors", "model-10.safetensors", ".model-11.safetensors.incomplete")
    (tmp_path / "checkpoint").write_text("model-2.safetensors\n")  # of before a kill, or damaged
    assert (found(), found(2)) == ("model-10.safetensors", "model-2.safetensors")
    (tmp_path / "model-best.safetensors").touch()
    assert found() == "model-best.safetensors"
    with pytest.raises(FileNotFoundError) as caught:
        found(3)
    assert str(caught.value) == (
        f"no checkpoint at {tmp_path}/model-3.safetensors: train first, or give --model-dir and --load-epoch of a run "
        "(the folder has model-10.safetensors, model-2.safetensors, model-best.safetensors)"
    )

    touch(tmp_path, "model.pth.tar-5", "model.pth.tar-6")
    (tmp_path / "checkpoint").write_text("model.pth.tar-5\n")
    assert (found(), found(6)) == ("model.pth.tar-5", "model.pth.tar-6")
    assert capsys.readouterr().out == ""
    (tmp_path / "model-5.safetensors").touch()
    assert found(5) == "model-5.safetensors"
    out = capsys.readouterr().out
    assert out == f"note: {tmp_path} holds model-5.safetensors and model.pth.tar-5: model-5.safetensors is read\n"

    touch(tmp_path, "model.pth.tar-5")
    for content in (b"model.pth.tar-4\n", b"\xff\xfe", b"", b"../x/model.pth.tar-5"):
        (tmp_path / "checkpoint").write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint does not name a checkpoint beside it: give --load-epoch$"):
            found()
    with pytest.raises(FileNotFoundError, match=r"\(the folder has none\)$"):
        checkpoints.find(tmp_path / "none")


def test_keeping(tmp_path):
    checkpoints.keep(tmp_path / "m", tensors(), ABOUT)
    checkpoints.keep(tmp_path / "m", tensors(), ABOUT, best=True)
    names = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert names == ["checkpoint", "model-3.safetensors", "model-best.safetensors"]
    assert (tmp_path / "m/checkpoint").read_text() == "model-3.safetensors\n"


def test_size_at_full_scale(tmp_path):
    """MMRL at ViT-B/16 with d_r = 512: under 25 MB."""
    learner = RepresentationLearner(MMRLSettings(0.7, 0.5, tuple(range(6, 13)), 512, 5), 768, 512)
    content = {**learner.state_dict(), **RepresentationProjection(768, 512).state_dict()}
    checkpoints.save(tmp_path / "x.safetensors", content, {**ABOUT, "classnames": ["some class"] * 1000})
    assert 19e6 < (tmp_path / "x.safetensors").stat().st_size < 25e6


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model-1.safetensors"
    checkpoints.save(path, tensors(), ABOUT)
    before = path.read_bytes()
    real = os.write

    def full(handle, data):
        real(handle, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"cannot write .*model-1.safetensors: No space left on device"):
        checkpoints.save(path, {}, ABOUT)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    write_bytes(tmp_path / "x", bytes(range(100)))
    assert (tmp_path / "x").read_bytes() == bytes(range(100))


def old_form(trainer, folder: Path, epoch: int) -> Path:
    """A checkpoint as earlier versions of this project wrote it: Dassl's file, and what it is."""
    path = folder / trainer.registered_name / f"model.pth.tar-{epoch}"
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = ("method", "dataset", "classnames", "backbone", "weights", "settings")
    about = {key: trainer.about()[key] for key in keys}
    state = {"state_dict": trainer.model.state_dict(), "epoch": epoch, "optimizer": {}, "scheduler": {}}
    torch.save({**state, "val_result": None, "about": about}, path)
    return path


def test_checkpoints_of_earlier_versions_load(make_trainer, tmp_path, capsys):
    trainer, other = make_trainer("MMRL"), make_trainer("MMRL", "SEED", 2)
    old_form(trainer, tmp_path, 3)
    other.load_model(str(tmp_path), epoch=3)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])
    with pytest.raises(ValueError, match="REP_DIM is 16 there, 8 here"):
        make_trainer("MMRL", "TRAINER.MMRL.REP_DIM", 8).load_model(str(tmp_path), epoch=3)
    other.save_model(2, str(tmp_path))
    capsys.readouterr()
    other.load_model(str(tmp_path), epoch=3)
    assert "note: " in capsys.readouterr().out


def test_a_flipped_bit_in_an_old_checkpoint_is_noticed(make_trainer, tmp_path):
    trainer = make_trainer("MMRL")
    path = old_form(trainer, tmp_path, 3)
    content = bytearray(path.read_bytes())
    value = trainer.model.representation_learner.compound_rep_tokens.detach()
    content[content.index(value.numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^cannot load checkpoint .*model.pth.tar-3: damaged, or not a checkpoint"):
        trainer.load_model(str(tmp_path), epoch=3)


def test_where_training_is_done_only_its_result_is_read(make_trainer, monkeypatch, capsys):
    trainer = make_trainer("MMRL")
    trainer.save_model(1, trainer.output_dir)
    assert trainer.resume_model_if_exist(trainer.output_dir) == 0
    assert "hold no state of the optimiser" in capsys.readouterr().out
    monkeypatch.delattr(TrainerBase, "save_resume_state")  # the public Dassl has none
    assert trainer.resume_model_if_exist(trainer.output_dir) == 0
    assert "model-2.safetensors holds no state of the optimiser: train from scratch" in capsys.readouterr().out
    trainer.save_model(trainer.max_epoch - 1, trainer.output_dir)
    other = make_trainer("MMRL", "SEED", 2)
    assert other.resume_model_if_exist(trainer.output_dir) == trainer.max_epoch
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_training_goes_on_with_the_same_weights_of_clip_only(make_trainer, toy_clip, tmp_path):
    trainer = make_trainer("MMRL")
    trainer.save_resume_state(trainer.output_dir)
    copy = tmp_path / "other.safetensors"
    content = bytearray(toy_clip.read_bytes())
    content[-5] ^= 1
    copy.write_bytes(content)
    other = make_trainer("MMRL", "MODEL.BACKBONE.NAME", str(copy))
    with pytest.raises(
        ValueError, match=r"^cannot resume from .*resume.pth.tar: it belongs to weights \w+, not weights"
    ):
        other.resume_model_if_exist(trainer.output_dir)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_neither_written_nor_loaded(value, tmp_path):
    path, bad = tmp_path / "model-3.safetensors", tensors()
    bad["b.weight"][1, 1] = value
    checkpoints.save(path, tensors(), ABOUT)
    whole = path.read_bytes()
    with pytest.raises(FloatingPointError) as caught:
        checkpoints.save(path, bad, ABOUT)
    lack = "b.weight holds NaN or infinity"
    assert str(caught.value) == (
        f"{lack}, so {path} is not written: training diverged; lower OPTIM.LR or use PREC fp32"
    )
    assert path.read_bytes() == whole
    method = torch.nn.ParameterDict({"a": torch.tensor(0.0)})
    method["b"] = torch.nn.Linear(2, 3, bias=False).weight
    method.ignores_checkpoint_key = lambda key: key == "frozen"
    found = {"a": torch.tensor(1.5), "b": bad["b.weight"], "frozen": torch.tensor(value)}
    with pytest.raises(ValueError) as caught:
        checkpoints.load_learned(method, found, path)
    assert str(caught.value) == (
        f"{path}: b holds NaN or infinity: its training diverged; load an earlier epoch, or train again"
    )
    found["b"] = tensors()["b.weight"]
    checkpoints.load_learned(method, found, path)  # what is frozen is not read
    with pytest.raises(ValueError, match="^cannot load .*keys.pt: it holds NaN or infinity; build the cache again"):
        torch.save(bad["b.weight"], tmp_path / "keys.pt")
        read_tensor(tmp_path / "keys.pt")


def test_nan_in_what_a_checkpoint_says_is_not_believed(tmp_path):
    path = tmp_path / "model-3.safetensors"
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.save(path, tensors(), {**ABOUT, "val_result": float("nan")})
    save_file(tensors(), path, {"about": '{"digest": "0", "val_result": NaN}'})
    with pytest.raises(ValueError, match="model-3.safetensors: damaged, or not a checkpoint"):
        checkpoints.read(path)
