"""From a configuration to a dataset and its loaders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms as T

from dassl.utils.images import Reading, read_image

from .cache import build_image_cache
from .check import check_images
from .datasets import build_dataset
from .samplers import build_sampler
from .transforms import INTERPOLATION_MODES, build_transform
from .workers import LastingLoader, obey_parent_only, seed_worker

__all__ = ["DataManager", "DatasetWrapper", "TorchDataset", "build_data_loader"]

Transform = Callable[[Any], Any]


def build_data_loader(
    cfg: Any,
    sampler_type: str = "SequentialSampler",
    data_source: Any = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Transform | Sequence[Transform] | None = None,
    is_train: bool = True,
    dataset_wrapper: Callable[..., Dataset] | None = None,
    cache_gb: float = 0.0,
) -> DataLoader:
    """Build a loader over a list of Datum. ValueError if there is nothing to load.

    A training loader drops the last partial batch, but only if there is at least one full batch. Images that
    take at most `cache_gb` GB decoded are kept in memory. Workers outlive an epoch, and are no more than there are
    processors. A `dataset_wrapper` that makes no DatasetWrapper has neither: no cache, and new workers every epoch, as
    many as DATALOADER.NUM_WORKERS says, on which depends what torch's loader draws.
    """
    if not data_source:
        raise ValueError("cannot load from an empty list of images")
    sampler = build_sampler(
        sampler_type, cfg=cfg, data_source=data_source, batch_size=batch_size, n_domain=n_domain, n_ins=n_ins
    )
    wrapper = DatasetWrapper if dataset_wrapper is None else dataset_wrapper
    dataset: Any = wrapper(cfg, data_source, transform=tfm, is_train=is_train)
    workers = cfg.DATALOADER.NUM_WORKERS
    ours = isinstance(dataset, DatasetWrapper)
    if ours:
        paths = (item.impath for item in data_source)
        cache = build_image_cache(paths, cache_gb, shared=workers > 0, reading=Reading.of(cfg))
        if cache:
            dataset.read = cache.read
    loader_type: Any = DataLoader
    options: dict[str, Any] = {"num_workers": workers}
    if workers > 0:
        prefetch = 2 if is_train else 1  # test batches are large, and one per worker keeps all of them busy
        options["prefetch_factor"] = prefetch
        if ours:
            loader_type, options = LastingLoader, {"stand_for": workers, "prefetch": prefetch}
    loader: DataLoader = loader_type(
        dataset,
        sampler=sampler,
        batch_size=batch_size,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
        worker_init_fn=obey_parent_only,
        **options,
    )
    if len(loader) == 0:
        raise ValueError(f"{sampler_type} yields no batch of {batch_size} from {len(data_source)} images")
    return loader


def reads_images(wrapper: Callable[..., Dataset] | None) -> bool:
    """Return whether a `dataset_wrapper` is ours, or one of ours: what others read is their business."""
    return wrapper is None or isinstance(wrapper, type) and issubclass(wrapper, DatasetWrapper)


class DataManager:
    """The dataset, transforms and loaders of a configuration.

    Attributes: `dataset, num_classes, num_source_domains, lab2cname, tfm_train, tfm_test, train_loader_x,
    train_loader_u, val_loader, test_loader`; without unlabelled or validation images their loader is None.
    """

    def __init__(
        self,
        cfg: Any,
        custom_tfm_train: Transform | Sequence[Transform] | None = None,
        custom_tfm_test: Transform | None = None,
        dataset_wrapper: Callable[..., Dataset] | None = None,
    ) -> None:
        self.dataset = build_dataset(cfg)
        lists = (self.dataset.train_x, self.dataset.train_u, self.dataset.val, self.dataset.test)
        if cfg.DATALOADER.CHECK_IMAGES and reads_images(dataset_wrapper):
            check_images((item.impath for items in lists for item in items or ()), Reading.of(cfg))
        self.tfm_train = self._transform(cfg, custom_tfm_train, is_train=True)
        self.tfm_test = self._transform(cfg, custom_tfm_test, is_train=False)
        self._wrapper = dataset_wrapper

        x = cfg.DATALOADER.TRAIN_X
        u = x if cfg.DATALOADER.TRAIN_U.SAME_AS_X else cfg.DATALOADER.TRAIN_U
        train_x, train_u, val, test = lists
        self.train_loader_x = self._loader(cfg, x, train_x, is_train=True, cache_gb=cfg.DATALOADER.CACHE_GB)
        self.train_loader_u = self._loader(cfg, u, train_u, is_train=True) if train_u else None
        self.val_loader = self._loader(cfg, cfg.DATALOADER.TEST, val) if val else None
        self.test_loader = self._loader(cfg, cfg.DATALOADER.TEST, test)

        self._num_classes: int = self.dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname: dict[int, str] = self.dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @staticmethod
    def _transform(cfg: Any, custom: Any, is_train: bool) -> Any:
        if custom is None:
            return build_transform(cfg, is_train=is_train)
        print(f"* Using custom transform for {'training' if is_train else 'testing'}")
        return custom

    def _loader(self, cfg: Any, node: Any, source: Any, is_train: bool = False, cache_gb: float = 0.0) -> DataLoader:
        groups = {"n_domain": node.N_DOMAIN, "n_ins": node.N_INS} if is_train else {}
        return build_data_loader(
            cfg,
            sampler_type=node.SAMPLER,
            data_source=source,
            batch_size=node.BATCH_SIZE,
            tfm=self.tfm_train if is_train else self.tfm_test,
            is_train=is_train,
            dataset_wrapper=self._wrapper,
            cache_gb=cache_gb,
            **groups,
        )

    num_classes = property(attrgetter("_num_classes"), doc="Number of classes.")
    num_source_domains = property(attrgetter("_num_source_domains"), doc="Number of source domains.")
    lab2cname = property(attrgetter("_lab2cname"), doc="Label -> class name.")

    def show_dataset_summary(self, cfg: Any) -> None:
        """Print the dataset's name and sizes."""
        table: list[list[Any]] = [["Dataset", cfg.DATASET.NAME]]
        if cfg.DATASET.SOURCE_DOMAINS:
            table.append(["Source", cfg.DATASET.SOURCE_DOMAINS])
        if cfg.DATASET.TARGET_DOMAINS:
            table.append(["Target", cfg.DATASET.TARGET_DOMAINS])
        table.append(["# classes", f"{self.num_classes:,}"])
        table.append(["# train_x", f"{len(self.dataset.train_x):,}"])
        if self.dataset.train_u:
            table.append(["# train_u", f"{len(self.dataset.train_u):,}"])
        if self.dataset.val:
            table.append(["# val", f"{len(self.dataset.val):,}"])
        table.append(["# test", f"{len(self.dataset.test):,}"])
        print(tabulate(table))


class DatasetWrapper(Dataset):
    """Reads and transforms images; item = dict of label, domain, impath, index and img.

    With a list of transforms there are also img2, img3, ...; with K_TRANSFORMS > 1 (training only) each img
    is a list of K views; with RETURN_IMG0 the unaugmented tensor is img0. `read` is what reads an image file.
    """

    def __init__(
        self,
        cfg: Any,
        data_source: Sequence[Any],
        transform: Transform | Sequence[Transform] | None = None,
        is_train: bool = False,
    ) -> None:
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.stand_for = 0  # a loader's workers, which it says itself
        self.read: Callable[[str], Image.Image] = partial(read_image, reading=Reading.of(cfg))
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm}, but there is no transform to repeat")
        self.to_tensor = self._plain_transform(cfg)

    @staticmethod
    def _plain_transform(cfg: Any) -> T.Compose:
        interpolation = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
        steps: list[Transform] = [T.Resize(tuple(cfg.INPUT.SIZE), interpolation=interpolation), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
        return T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitems__(self, batch: Sequence[Any]) -> list[dict[str, Any]]:
        """Items of a batch, which a loader with workers gives as a SeededSampler's (seed, index) pairs."""
        if not isinstance(batch[0], tuple):
            return [self[index] for index in batch]
        seed_worker(batch[0][0], self.stand_for)
        return [self[index] for _, index in batch]

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        output: dict[str, Any] = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        image = self.read(item.impath)
        if self.transform is None:
            output["img"] = image
        elif isinstance(self.transform, list | tuple):
            for number, transform in enumerate(self.transform, start=1):
                output["img" if number == 1 else f"img{number}"] = self._transform_image(transform, image)
        else:
            output["img"] = self._transform_image(self.transform, image)
        if self.return_img0:
            output["img0"] = self.to_tensor(image)
        return output

    def _transform_image(self, tfm: Any, img0: Any) -> Tensor | list[Tensor]:
        """One view of an image, or a list of `k_tfm` views; for wrappers that change it, as the public ones do."""
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views if self.k_tfm > 1 else views[0]
