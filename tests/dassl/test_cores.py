"""Threads and workers: no more than there are processors, and the same numbers however many there are."""

from __future__ import annotations

import os
import warnings

import pytest
import threadpoolctl
import torch

from dassl import cores
from dassl.data.transforms import build_transform
from dassl.utils import set_random_seed
from runs.engine import SMALL_FILE, choose_threads, is_small
from tests.dassl.test_cache import PIPELINES, image_files, loader_cfg, training_loader


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 8 processors, no quota, no grid, and a user who says nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    for name in (cores.SHARE, *cores.ASKED):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def threads(monkeypatch):
    """What torch and the other libraries are told; torch has 6 threads."""
    told = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: told.append(("torch", count)))
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", lambda count: told.append(("others", count)))
    return told


def test_what_is_available(machine, monkeypatch):
    assert cores.available() == 8
    (machine / "cpu.max").write_text("max 100000\n")
    assert cores.available() == 8
    (machine / "cpu.max").write_text("250000 100000\n")
    assert cores.available() == 2
    (machine / "cpu.max").write_text("20000 100000\n")
    assert cores.available() == 1
    (machine / "cpu.max").write_text("600000 100000\n")
    monkeypatch.setenv(cores.SHARE, "4")
    assert cores.available() == 4


def test_an_older_containers_quota(machine):
    (machine / "cpu").mkdir()
    (machine / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (machine / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores.available() == 8
    (machine / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    assert cores.available() == 3


@pytest.mark.parametrize(
    ("asked", "there", "found"),
    [(8, 8, 8), (8, 64, 8), (8, 6, 4), (8, 3, 2), (8, 1, 1), (6, 5, 3), (7, 4, 1), (0, 4, 0)],
)
def test_workers_of_a_loader(asked, there, found, monkeypatch):
    monkeypatch.setattr(cores, "available", lambda: there)
    assert cores.loader_workers(asked) == found


@pytest.mark.parametrize(
    ("backbone", "device", "share", "wanted"),
    [("embedded", "cpu", "", 1), ("ViT-B/16", "cpu", "", 6), ("ViT-B/16", "cpu", "2", 2), ("embedded", "cuda", "2", 2)],
)
def test_threads_of_a_run(backbone, device, share, wanted, machine, threads, monkeypatch):
    monkeypatch.setenv(cores.SHARE, share)
    choose_threads(backbone, torch.device(device))
    assert sorted(threads) == [("others", wanted), ("torch", wanted)]


@pytest.mark.parametrize("name", cores.ASKED)
def test_what_the_user_says_stays(name, machine, threads, monkeypatch):
    monkeypatch.setenv(name, "3")
    choose_threads("embedded", torch.device("cpu"))
    assert not threads


def test_a_small_file_is_a_small_model(tmp_path):
    file = tmp_path / "weights.pt"
    for size, small in ((SMALL_FILE, True), (SMALL_FILE + 1, False)):
        with file.open("wb") as out:
            out.truncate(size)
        assert is_small(str(file)) is small
    assert not is_small(str(tmp_path)) and not is_small("open_clip:ViT-B-16/openai")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # this machine may have fewer processors
def test_fewer_workers_load_the_same(tmp_path, monkeypatch):
    """Augmentations of torch, Python and NumPy over two epochs, one left in the middle, and the generators after."""
    items = image_files(tmp_path, 20)
    cfg = loader_cfg(workers=4, transforms=PIPELINES[-1])
    tfm = [build_transform(cfg), lambda image: torch.rand(1), _of_numpy]
    found = []
    for there in (4, 3, 1):
        monkeypatch.setattr(cores, "available", lambda there=there: there)
        loader = training_loader(cfg, items, tfm=tfm)
        assert loader.num_workers == {4: 4, 3: 2, 1: 1}[there]
        assert loader.num_workers * loader.prefetch_factor == 8
        set_random_seed(7)
        first = next(iter(loader))
        batches = [first, *loader, *loader]
        found.append(([b[key] for b in batches for key in ("index", "img", "img2", "img3")], torch.get_rng_state()))
        loader.end_workers()
    (whole, state), *others = found
    for tensors, after in others:
        assert all(map(torch.equal, whole, tensors)) and torch.equal(state, after)


def test_torch_has_nothing_to_warn_of(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        training_loader(loader_cfg(workers=64), image_files(tmp_path, 4))


def _of_numpy(image):
    import random

    import numpy as np

    return torch.tensor([np.random.rand(), random.random()])
