"""Checkpoints: what is written, what is refused, what other people's files may hold."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from dassl.optim import lr_scheduler
from dassl.utils import (
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    open_all_layers,
    open_specified_layers,
    resume_from_checkpoint,
    save_checkpoint,
)


def state_of(model: nn.Module, epoch: int = 3, **more):
    return {"state_dict": model.state_dict(), "epoch": epoch, "val_result": None, **more}


def test_layout_and_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.DataParallel(nn.Linear(2, 1))
    save_checkpoint(state_of(model), tmp_path / "m", is_best=True)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3"]
    assert (tmp_path / "m" / "checkpoint").read_text() == "model.pth.tar-3\n"
    loaded = load_checkpoint(tmp_path / "m" / "model.pth.tar-3")
    assert list(loaded) == ["state_dict", "epoch", "val_result"]
    assert list(loaded["state_dict"]) == ["weight", "bias"]
    assert f"Checkpoint saved to {tmp_path / 'm' / 'model.pth.tar-3'}" in capsys.readouterr().out


def test_resume_restores_all_three(tmp_path: Path) -> None:
    def build():
        model = nn.Linear(2, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        return model, optimizer, CosineAnnealingLR(optimizer, 5)

    model, optimizer, scheduler = build()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler.step()
    save_checkpoint(state_of(model, optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict()), tmp_path)
    model2, optimizer2, scheduler2 = build()
    assert resume_from_checkpoint(tmp_path, model2, optimizer2, scheduler2) == 3
    assert torch.equal(model.weight, model2.weight)
    assert optimizer2.state_dict()["state"][0]["step"] == 1
    assert scheduler2.state_dict() == scheduler.state_dict()
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        resume_from_checkpoint(tmp_path / "none", model2)


def test_an_interrupted_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 1)
    save_checkpoint(state_of(model), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def die(state, file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(state_of(model), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    save_checkpoint(state_of(nn.Linear(3, 2)), folder)
    return (folder / "model.pth.tar-3").read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_named(saved: bytes, tmp_path: Path, part: float) -> None:
    path = tmp_path / "cut.pth.tar"
    path.write_bytes(saved[: int(part * len(saved))])
    with pytest.raises(ValueError, match="cannot load checkpoint .*cut.pth.tar: damaged"):
        load_checkpoint(path)


class Payload:
    """What a hostile file would run when it is unpickled."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return print, ("executed",)


def test_foreign_objects_are_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}, "x": Payload()}, tmp_path / "bad.pth.tar")
    (tmp_path / "pickle.pth.tar").write_bytes(pickle.dumps(Payload(), protocol=2))
    torch.save([1], tmp_path / "list.pth.tar")
    for name in ("bad", "pickle", "list"):
        with pytest.raises(ValueError, match=f"{name}.pth.tar"):
            load_checkpoint(tmp_path / f"{name}.pth.tar")
    with pytest.raises(FileNotFoundError, match="no checkpoint file at"):
        load_checkpoint(tmp_path / "missing.pth.tar")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("main", [CosineAnnealingLR, MultiStepLR])
def test_checkpoints_of_the_public_dassl_load(main, tmp_path: Path) -> None:
    """They hold the schedule after the warm-up as an object, and through it the optimiser."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    successor = main(optimizer, 5) if main is CosineAnnealingLR else main(optimizer, [1, 2])
    warmup = lr_scheduler.ConstantWarmupScheduler(optimizer, successor, 1, 1e-5)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = {**warmup.state_dict(), "successor": successor}
    allowed = set(torch.serialization.get_safe_globals())
    torch.save(state_of(model, optimizer=optimizer.state_dict(), scheduler=schedule), tmp_path / "model.pth.tar-3")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "model.pth.tar-3", weights_only=True)
    loaded = load_checkpoint(tmp_path / "model.pth.tar-3")
    assert torch.equal(loaded["state_dict"]["weight"], model.weight)
    assert not isinstance(loaded["scheduler"]["successor"], main)
    assert set(torch.serialization.get_safe_globals()) == allowed
    with pytest.raises(ValueError, match="schedule cannot be resumed"):
        warmup.load_state_dict(loaded["scheduler"])


def test_pretrained_weights_load_where_they_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 5)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)))
    torch.save({"state_dict": nn.DataParallel(source).state_dict()}, tmp_path / "w.pth")
    load_pretrained_weights(target, tmp_path / "w.pth")
    assert torch.equal(source[0].weight, target[0].weight)
    assert "unmatched keys or size: ['1.weight', '1.bias']" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="no weight in"):
        load_pretrained_weights(nn.Linear(7, 7), tmp_path / "w.pth")


def test_opening_layers() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    open_specified_layers(model, "head")
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert not model["body"].training and model["head"].training
    with pytest.raises(ValueError, match="'tail'"):
        open_specified_layers(model, ["tail"])
    open_all_layers(model)
    assert all(p.requires_grad for p in model.parameters()) and model["body"].training
    assert count_num_param(model) == count_num_param(params=model.parameters()) == 13
