"""Loaders that give features of the frozen image tower instead of pixels, each feature computed once (FEATURES.ONCE).

A batch has features ``[B, d]`` where others have images ``[B, 3, H, W]``; ``cosine.frozen_features`` takes both, so a
method that asks for features by it trains and is tested as ever. Order and number of batches are those of pixels.

Shapes: B images, N images of a list, V views, d joint width.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset
from tqdm import tqdm

from common.files import sha256
from dassl.data.data_manager import DatasetWrapper, build_data_loader

from .checkpoints import plain
from .feature_files import FeatureFiles

FOLDER = "~/.cache/mmrl/features"
AT_ONCE = 4096  # features that go to disk together
THREADS = 8  # they wait for the disk together
# What of INPUT makes an image of the test transform, with these of its TRANSFORMS.
PLAIN = ("SIZE", "INTERPOLATION", "READ", "PIXEL_MEAN", "PIXEL_STD")
PLAIN_TRANSFORMS = {"normalize", "instance_norm", "squash"}


class CachedFeatures:
    """Features of a run's images: from memory, from disk, else encoded and kept.

    Args:
        cfg: the run's; its training transform draws views, FEATURES says how many, and where features are kept.
        tower: what tells the image tower and its precision, as JSON values.
        encode: the tower, from images ``[B, 3, H, W]`` to features ``[B, d]``, at least float32.
        transform: the test transform, which makes the plain view.
    """

    def __init__(
        self, cfg: Any, tower: Mapping[str, Any], encode: Callable[[Tensor], Tensor], transform: Callable[[Any], Any]
    ):
        self.cfg, self.encode, self.transform = cfg, encode, transform
        root, node = Path(cfg.FEATURES.FOLDER or FOLDER).expanduser(), cfg.INPUT
        ways = {
            False: {key: plain(node[key]) for key in PLAIN}
            | {"TRANSFORMS": sorted(PLAIN_TRANSFORMS.intersection(node.TRANSFORMS))},
            True: {key: plain(value) for key, value in node.items() if key != "MAX_MEGAPIXELS"},
        }
        self.files = {
            drawn: FeatureFiles(root, cfg.FEATURES.MAX_GB, {**tower, "drawn": drawn, "INPUT": way})
            for drawn, way in ways.items()
        }
        self._digests: dict[str, str] = {}  # of files, by path
        self._known: dict[str, Tensor] = {}  # features [d] by name

    def over(self, loader: DataLoader, train: bool) -> DataLoader:
        """Return a loader that gives the batches of ``loader``, with features; ``train``: of training views."""
        order: Any = getattr(loader.sampler, "sampler", loader.sampler)  # our Dassl's seeds workers as well
        batches = BatchSampler(order, loader.batch_size, loader.drop_last)  # type: ignore[arg-type]
        dataset = FeatureSet(self, loader.dataset, train)
        return DataLoader(dataset, batch_size=None, sampler=batches, collate_fn=as_it_is)  # type: ignore[arg-type]

    def of(self, items: Sequence[Any], train: bool, transform: Callable[[Any], Any]) -> Tensor:
        """Return features ``[N, V, d]`` of images: of the plain view or, to train, of FEATURES.VIEWS > 1 drawn ones.

        ``transform`` draws those. Raises OSError naming a file that cannot be read, or the folder that cannot be
        written, and FloatingPointError naming an image whose feature is not finite.
        """
        drawn = train and self.cfg.FEATURES.VIEWS > 1
        views = range(1, self.cfg.FEATURES.VIEWS + 1) if drawn else range(1)
        names = [[f"{digest}.{view}" for view in views] for digest in self._digests_of(items)]
        wanted = {name: item for item, row in zip(items, names, strict=True) for name in row}
        self._known |= self.files[drawn].read(wanted.keys() - self._known.keys())
        missing = {name: item for name, item in wanted.items() if name not in self._known}
        if missing:
            self._encode(missing, drawn, transform if drawn else self.transform)
        return torch.stack([torch.stack([self._known[name] for name in row]) for row in names])

    def _digests_of(self, items: Sequence[Any]) -> list[str]:
        new = [path for path in dict.fromkeys(item.impath for item in items) if path not in self._digests]
        with ThreadPoolExecutor(THREADS) as pool:
            bar = tqdm(new, unit="image", desc="Looking for features", disable=None, delay=1, leave=False)
            self._digests |= zip(bar, pool.map(sha256, new), strict=True)
        return [self._digests[item.impath] for item in items]

    def _encode(self, missing: Mapping[str, Any], drawn: bool, transform: Callable[[Any], Any]) -> None:
        """Encode the images of features that are missing, by name, and keep these."""
        files, names, items = self.files[drawn], list(missing), list(missing.values())
        files.prepare()
        loader = build_data_loader(
            self.cfg,
            data_source=items,
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=transform,
            is_train=False,
            dataset_wrapper=partial(FixedViews, names) if drawn else None,
        )
        done, unsaved = 0, dict[str, Tensor]()
        print(f"Encoding {len(items):,} images, whose features are not in {files.root}")
        with generators_untouched(), tqdm(total=len(items), unit="image", disable=None) as bar:
            for batch in loader:
                features = self.encode(batch["img"]).cpu()
                here = names[done : done + len(features)]
                bad = ~features.isfinite().all(dim=1)
                if bad.any():
                    path = items[done + int(bad.nonzero()[0])].impath
                    raise FloatingPointError(f"CLIP's feature of {path} is NaN or infinite: take PREC fp32")
                unsaved |= zip(here, features.unbind(), strict=True)
                done += len(features)
                bar.update(len(features))
                if len(unsaved) >= AT_ONCE or done == len(items):
                    files.write(unsaved)
                    self._known |= unsaved
                    unsaved = {}


class FeatureSet(Dataset):
    """The images of a Dassl DatasetWrapper as features, which are looked for when the first batch is asked for."""

    def __init__(self, source: CachedFeatures, images: Any, train: bool):
        self.source, self.train = source, train
        self.data_source, self.transform = images.data_source, images.transform

    def __len__(self) -> int:
        return len(self.data_source)

    @cached_property
    def features(self) -> Tensor:
        """Return the features ``[N, V, d]``."""
        return self.source.of(self.data_source, self.train, self.transform)

    @cached_property
    def labels(self) -> Tensor:
        """Return the labels ``[N]``."""
        return torch.tensor([item.label for item in self.data_source])

    @cached_property
    def domains(self) -> Tensor:
        """Return the domains ``[N]``."""
        return torch.tensor([item.domain for item in self.data_source])

    def __getitem__(self, places: list[int]) -> dict[str, Any]:
        """Return a batch: of each image the feature of a view that is drawn, where there are several."""
        index = torch.tensor(places)
        views = self.features.shape[1]
        rows = index * views + torch.randint(views, index.shape) if views > 1 else index
        return {
            "img": self.features.flatten(0, 1).index_select(0, rows),
            "label": self.labels.index_select(0, index),
            "domain": self.domains.index_select(0, index),
            "impath": [self.data_source[place].impath for place in places],
            "index": index,
        }


class FixedViews(DatasetWrapper):
    """Images whose transform draws from a generator that is seeded by each one's name: the same view at any time."""

    def __init__(self, names: Sequence[str], *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.names = names

    def __getitem__(self, idx: int) -> dict[str, Any]:
        digest = hashlib.sha256(self.names[idx].encode()).digest()
        random.seed(digest)
        np.random.seed(int.from_bytes(digest[:4], "big"))
        torch.default_generator.manual_seed(int.from_bytes(digest[:7], "big"))
        return super().__getitem__(idx)


@contextmanager
def generators_untouched() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's CPU generators as they were before the block."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch that a dataset gives whole, as a loader's ``collate_fn``."""
    return batch
