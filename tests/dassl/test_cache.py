"""The image cache and the loaders' workers: nothing they do may change what is loaded."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data import DataManager, DatasetWrapper, cache
from dassl.data.cache import build_image_cache
from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform
from dassl.engine import build_trainer
from dassl.utils.images import Reading, read_image
from dassl.utils.tools import set_random_seed

# Training pipelines of the CoOp family (first), of the Digits configurations, and of Dassl's other trainers.
PIPELINES = [
    ("random_resized_crop", "random_flip", "normalize"),
    ("random_resized_crop", "normalize"),
    ("random_flip", "random_translation", "normalize"),
    ("center_crop", "normalize"),
    ("random_flip", "random_crop", "cutout", "normalize"),
    ("random_flip", "randaugment_fixmatch", "normalize", "gaussian_noise"),
    ("random_resized_crop", "colorjitter", "randomgrayscale", "gaussian_blur", "instance_norm"),
]


def loader_cfg(workers: int = 0, transforms: tuple[str, ...] = PIPELINES[0]) -> CfgNode:
    cfg = get_cfg_default()
    cfg.INPUT.SIZE = (16, 16)
    cfg.INPUT.INTERPOLATION = "bicubic"
    cfg.INPUT.TRANSFORMS = transforms
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.USE_CUDA = False
    return cfg


def image_files(folder: Path, count: int, size: tuple[int, int] = (30, 20), mode: str = "RGB", kind: str = "jpg"):
    rng = np.random.default_rng(size[0] * 1000 + size[1])
    items = []
    for number in range(count):
        path = folder / f"{number}.{kind}"
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        items.append(SimpleNamespace(impath=str(path), label=number % 3, domain=0))
    return items


def training_loader(cfg: CfgNode, items: list[Any], cache_gb: float = 0.0, **options: Any) -> DataLoader:
    options.setdefault("tfm", build_transform(cfg))
    return build_data_loader(cfg, "RandomSampler", items, batch_size=3, cache_gb=cache_gb, **options)


def epochs(loader: DataLoader, count: int) -> Iterator[Any]:
    """All that epochs from one seed load, and the generators' states after each."""
    set_random_seed(7)
    for _ in range(count):
        for batch in loader:
            yield from (batch[key] for key in sorted(batch) if key != "impath")
        yield torch.get_rng_state()
        yield torch.tensor([random.random(), np.random.rand()])


def assert_same(first: DataLoader, second: DataLoader, count: int = 3) -> None:
    for a, b in zip(list(epochs(first, count)), list(epochs(second, count)), strict=True):
        if isinstance(a, list):  # several views of each image
            a, b = torch.stack(a), torch.stack(b)
        assert torch.equal(a, b)


@settings(max_examples=30, deadline=None)
@given(
    transforms=st.sampled_from(PIPELINES),
    size=st.tuples(st.integers(17, 60), st.integers(17, 60)),
    mode_kind=st.sampled_from(
        [("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("1", "png")]
    ),
    scale=st.sampled_from([(0.08, 1.0), (0.5, 1.0)]),
    views=st.integers(1, 2),
)
def test_same_pixels_and_draws_as_without_it(
    tmp_path_factory: pytest.TempPathFactory,
    transforms: tuple[str, ...],
    size: tuple[int, int],
    mode_kind: tuple[str, str],
    scale: tuple[float, float],
    views: int,
) -> None:
    items = image_files(tmp_path_factory.mktemp("images"), 4, size, *mode_kind)
    cfg = loader_cfg(0, transforms)
    cfg.INPUT.RRCROP_SCALE = scale
    cfg.DATALOADER.K_TRANSFORMS = views
    cfg.DATALOADER.RETURN_IMG0 = True
    assert_same(training_loader(cfg, items), training_loader(cfg, items, cache_gb=1))


def test_same_pixels_without_a_transform_and_with_several(tmp_path: Path) -> None:
    items = image_files(tmp_path, 2)
    cfg = loader_cfg()
    for transform in (None, [build_transform(cfg, is_train=False), build_transform(cfg)]):
        plain, cached = (DatasetWrapper(cfg, items, transform) for _ in range(2))
        cached.read = build_image_cache([item.impath for item in items], 1, shared=False).read
        for index in (0, 1, 0):
            set_random_seed(0)
            a = plain[index]
            set_random_seed(0)
            b = cached[index]
            if transform is None:
                assert (a["img"].mode, a["img"].size) == (b["img"].mode, b["img"].size)
                assert a["img"].tobytes() == b["img"].tobytes()
            else:
                assert torch.equal(a["img"], b["img"]) and torch.equal(a["img2"], b["img2"])


# The fixture's images have one colour each, which no crop changes: noise makes what is drawn show in the weights.
NOISY = ("random_resized_crop", "random_flip", "normalize", "gaussian_noise")


def trained_weights(cfg: CfgNode, folder: Path) -> torch.Tensor:
    cfg.OUTPUT_DIR = str(folder)
    set_random_seed(1)
    trainer = build_trainer(cfg)
    trainer.train()
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_learns_the_same(cfg: CfgNode, tmp_path: Path, workers: int) -> None:
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.INPUT.TRANSFORMS = NOISY
    results = []
    for limit in (0.0, 2.0):
        cfg.DATALOADER.CACHE_GB = limit
        results.append(trained_weights(cfg, tmp_path / str(limit)))
    assert torch.equal(*results)


def test_each_file_is_decoded_once(cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: str, reading: Reading) -> Image.Image:
        read.append(path)
        return read_image(path, reading)

    monkeypatch.setattr(cache, "read_image", counted)
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 6
    dm = DataManager(cfg)
    assert read == []  # nothing before the first epoch
    for _ in range(3):
        list(dm.train_loader_x)
    assert sorted(read) == sorted(item.impath for item in dm.dataset.train_x)


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_processes_share_what_any_of_them_decoded(
    tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch, start: str, workers: int
) -> None:
    resource_tracker.ensure_running()  # in a Python of its own
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(python))
    monkeypatch.setattr(multiprocessing.util, "_args_from_interpreter_flags", list)
    items = image_files(tmp_path, 12)
    for item in items:
        with Image.open(item.impath) as image:
            exif = image.getexif()
            exif[274] = 6
            image.save(item.impath, exif=exif)
    cfg = loader_cfg(workers)
    cfg.INPUT.READ = "upright"
    expected = list(epochs(training_loader(cfg, items), 3))
    loader = training_loader(cfg, items, cache_gb=1)
    loader.multiprocessing_context = start
    loaded = epochs(loader, 3)
    pixels = read_image(items[5].impath, Reading(upright=True)).tobytes()
    for number, value in enumerate(expected):
        assert torch.equal(next(loaded), value)
        if number == len(expected) // 3 - 1:  # from here on, images come in another order, to other workers
            for item in items:
                os.unlink(item.impath)
    assert loader.dataset.read(items[5].impath).tobytes() == pixels
    assert not list(tmp_path.iterdir())


def test_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [item.impath for item in image_files(tmp_path, 4, (50, 40))]
    needed = 4 * 50 * 40 * 3 / 1e9
    for shared in (False, True):
        assert build_image_cache(paths, needed * 1.001, shared) is not None
    assert build_image_cache(paths * 2, needed * 1.001, False) is not None  # the same files
    assert build_image_cache(paths, 0, False) is None
    assert capsys.readouterr().out == ""
    too_little = needed * 0.999
    assert build_image_cache(paths, too_little, False) is None
    assert capsys.readouterr().out == (
        f"The decoded training images exceed DATALOADER.CACHE_GB ({too_little} GB): not kept in memory\n"
    )
    with pytest.raises(ValueError, match="CACHE_GB is -1"):
        build_image_cache(paths, -1, False)


def test_a_manager_keeps_to_the_limit(cfg: CfgNode, capsys: pytest.CaptureFixture[str]) -> None:
    for limit, line, kept in ((2.0, False, True), (0.0, False, False), (1e-7, True, False)):
        cfg.DATALOADER.CACHE_GB = limit
        dm = DataManager(cfg)
        assert ("not kept in memory" in capsys.readouterr().out) is line
        assert isinstance(getattr(dm.train_loader_x.dataset.read, "__self__", None), cache.ImageCache) is kept
        for loader in (dm.test_loader, dm.train_loader_u):
            assert loader.dataset.read.func is read_image


def test_bad_files(tmp_path: Path) -> None:
    whole, cut, none = (item.impath for item in image_files(tmp_path, 3, (90, 60)))
    content = Path(cut).read_bytes()
    Path(cut).write_bytes(content[: len(content) // 2])
    images = build_image_cache([whole, cut], 1, shared=False)
    assert images is not None
    for _ in range(2):
        with pytest.raises(OSError, match=f"^cannot read image {cut}: "):
            images.read(cut)
    Path(none).write_bytes(b"no image")
    with pytest.raises(OSError, match=f"^cannot read image {none}: not an image file"):
        build_image_cache([none], 1, shared=False)
    os.unlink(none)
    with pytest.raises(FileNotFoundError, match=f"^no image file at {none}"):
        build_image_cache([none], 1, shared=False)
    Image.new("RGB", (7, 9)).save(whole)  # another size than when it was measured
    assert images.read(whole).size == images.read(whole).size == (7, 9)


class Draws:
    """A transform that returns the number of its process and the next numbers of its three generators."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        numbers = [os.getpid(), random.random(), float(torch.rand((), dtype=torch.float64)), np.random.rand()]
        return torch.tensor(numbers, dtype=torch.float64)


class OwnWrapper(torch.utils.data.Dataset):
    """A wrapper that knows nothing of ours."""

    def __init__(self, cfg: CfgNode, data_source: list[Any], transform: Any = None, is_train: bool = False) -> None:
        self.data_source, self.transform = data_source, transform

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = read_image(self.data_source[index].impath)
        return {"img": self.transform(image), "index": index}


def draws(loader: DataLoader, epochs: int, leave_after: int | None = None) -> tuple[list[torch.Tensor], set[int]]:
    """Images of each epoch without their first number, and the set of first numbers: the workers."""
    drawn, workers = [], set()
    for epoch in range(epochs):
        images = []
        for number, batch in enumerate(loader):
            if epoch == 1 and number == leave_after:
                break
            images.append(batch["img"])
        drawn.append(torch.cat(images))
        workers |= set(drawn[-1][:, 0].tolist())
    return [x[:, 1:] for x in drawn], workers


@pytest.mark.parametrize("leave_after", [None, 1])
def test_lasting_workers_draw_what_new_ones_would(tmp_path: Path, leave_after: int | None) -> None:
    items = image_files(tmp_path, 14)
    cfg = loader_cfg(2)
    lasting = training_loader(cfg, items, tfm=Draws())
    new = training_loader(cfg, items, tfm=Draws(), dataset_wrapper=OwnWrapper)
    set_random_seed(3)
    a, workers_a = draws(lasting, 3, leave_after)
    state = torch.get_rng_state()
    set_random_seed(3)
    b, workers_b = draws(new, 3, leave_after)
    assert (len(workers_a), len(workers_b)) == (2, 5 if leave_after else 6)
    assert torch.equal(state, torch.get_rng_state())
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x[:, :2], y[:, :2])  # Python's and torch's numbers
    assert len(set(torch.cat(a).flatten().tolist())) == torch.cat(a).numel()  # no number comes twice


def test_workers_that_start_late_draw_the_same(tmp_path: Path) -> None:
    """As after a resume: the main generators are where they were, and the workers have seen no epoch."""
    items = image_files(tmp_path, 8)
    cfg = loader_cfg(2)
    loader = training_loader(cfg, items, tfm=Draws())
    set_random_seed(3)
    draws(loader, 2)
    state = torch.get_rng_state()
    (expected,), _ = draws(loader, 1)
    torch.set_rng_state(state)
    (late,), _ = draws(training_loader(cfg, items, tfm=Draws()), 1)
    assert torch.equal(late, expected)


def test_workers_end_at_once_with_a_loader_in_a_cycle(tmp_path: Path) -> None:
    loader = training_loader(loader_cfg(2), image_files(tmp_path, 6), tfm=Draws())
    _, workers = draws(loader, 1)
    assert len(workers) == 2
    loader.cycle = loader  # type: ignore[attr-defined]
    del loader
    start = time.monotonic()
    gc.collect()
    assert time.monotonic() - start < 4  # torch gives each worker 5 seconds before it kills it
    assert not workers & {float(process.pid) for process in multiprocessing.active_children() if process.pid}


def test_test_images_do_not_depend_on_workers(tmp_path: Path) -> None:
    items = image_files(tmp_path, 7)
    loaded = []
    for workers in (0, 2):
        cfg = loader_cfg(workers)
        loader = build_data_loader(cfg, "SequentialSampler", items, 3, tfm=build_transform(cfg, False), is_train=False)
        batches = [batch for _ in range(2) for batch in loader]
        assert [len(batch["label"]) for batch in batches] == [3, 3, 1] * 2
        loaded.append(torch.cat([batch["img"] for batch in batches]))
    assert torch.equal(*loaded)


def test_a_loader_with_workers_looks_like_one_without(tmp_path: Path) -> None:
    items = image_files(tmp_path, 7)
    for workers in (0, 2):
        loader = training_loader(loader_cfg(workers), items)
        assert (loader.batch_size, loader.drop_last, len(loader), len(loader.sampler)) == (3, True, 2, 7)
        assert isinstance(loader.dataset, DatasetWrapper)
        assert loader.persistent_workers is (workers > 0)


class Plain(Dataset):
    """Images read and transformed one by one, as the public package does."""

    def __init__(self, items: list[Any], transform: Any) -> None:
        self.items, self.transform = items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        image = self.transform(Image.open(item.impath).convert("RGB"))
        return {"img": image, "label": item.label, "domain": item.domain, "index": index}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 8 worker processes")
@pytest.mark.parametrize("workers", [0, 8])
def test_order_crops_and_draws_are_torchs_own_loaders(tmp_path: Path, workers: int) -> None:
    """With as many workers here as there, on however few processors."""
    cfg, items = loader_cfg(workers), image_files(tmp_path, 32)
    plain = DataLoader(
        Plain(items, build_transform(cfg)),
        batch_size=3,
        sampler=RandomSampler(items),
        num_workers=workers,
        drop_last=True,
    )
    assert_same(training_loader(cfg, items), plain, count=2)
