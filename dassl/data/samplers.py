"""Orders in which a loader visits the images."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data.sampler import RandomSampler, Sampler, SequentialSampler

from dassl.utils.tools import check_availability

AVAI_SAMPLERS = "RandomDomainSampler SeqDomainSampler RandomSampler SequentialSampler RandomClassSampler".split()


def _indices_by(data_source: Sequence[Any], key: Callable[[Any], int]) -> dict[int, list[int]]:
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(data_source):
        groups[key(item)].append(index)
    return dict(groups)


class RandomDomainSampler(Sampler[int]):
    """Each batch: `n_domain` random domains (0: all) with equally many random images, none twice per epoch.

    The epoch ends when a drawn domain cannot fill its share any more. ValueError if the shares are not whole.
    """

    def __init__(self, data_source: Sequence[Any], batch_size: int, n_domain: int = 0) -> None:
        self.data_source = data_source
        self.batch_size = batch_size
        self.domain_dict = _indices_by(data_source, lambda item: item.domain)
        self.domains = sorted(self.domain_dict)
        self.n_domain = n_domain if n_domain and n_domain > 0 else len(self.domains)
        if batch_size % self.n_domain != 0:
            raise ValueError(
                f"batch size {batch_size} cannot be shared equally by {self.n_domain} domains; "
                "change BATCH_SIZE or N_DOMAIN"
            )
        self.n_img_per_domain = batch_size // self.n_domain
        short = [d for d in self.domains if len(self.domain_dict[d]) < self.n_img_per_domain]
        if short:
            raise ValueError(f"domain {short[0]} has fewer than {self.n_img_per_domain} images; lower BATCH_SIZE")
        self.length = len(list(iter(self)))

    def _choose_domains(self) -> list[int]:
        return random.sample(self.domains, self.n_domain)

    def __iter__(self) -> Iterator[int]:
        left = {domain: list(indices) for domain, indices in self.domain_dict.items()}
        order: list[int] = []
        while all(len(indices) >= self.n_img_per_domain for indices in left.values()):
            for domain in self._choose_domains():
                random.shuffle(left[domain])
                order.extend(left[domain][: self.n_img_per_domain])
                del left[domain][: self.n_img_per_domain]
        return iter(order)

    def __len__(self) -> int:
        return self.length


class SeqDomainSampler(RandomDomainSampler):
    """Each batch: all domains, in order, with equally many random images."""

    def __init__(self, data_source: Sequence[Any], batch_size: int) -> None:
        super().__init__(data_source, batch_size)

    def _choose_domains(self) -> list[int]:
        return self.domains


class RandomClassSampler(Sampler[int]):
    """Each batch: `batch_size // n_ins` random classes with `n_ins` images each.

    A class with fewer images is drawn with replacement. ValueError if the batch holds less than one class or
    more classes than there are.
    """

    def __init__(self, data_source: Sequence[Any], batch_size: int, n_ins: int) -> None:
        if batch_size < n_ins:
            raise ValueError(f"batch size {batch_size} is smaller than the {n_ins} images per class (N_INS)")
        self.n_ins = n_ins
        self.ncls_per_batch = batch_size // n_ins
        self.data_source = data_source
        self.batch_size = batch_size
        self.index_dic = _indices_by(data_source, lambda item: item.label)
        self.labels = list(self.index_dic)
        if len(self.index_dic) < self.ncls_per_batch:
            raise ValueError(
                f"a batch needs {self.ncls_per_batch} classes, the data has {len(self.index_dic)}; raise N_INS"
            )
        self.length = len(list(iter(self)))

    def _chunks(self, indices: list[int]) -> list[list[int]]:
        if len(indices) < self.n_ins:
            indices = [int(i) for i in np.random.choice(indices, size=self.n_ins, replace=True)]
        shuffled = random.sample(indices, len(indices))
        whole = len(shuffled) - len(shuffled) % self.n_ins
        return [shuffled[start : start + self.n_ins] for start in range(0, whole, self.n_ins)]

    def __iter__(self) -> Iterator[int]:
        left = {label: self._chunks(indices) for label, indices in self.index_dic.items()}
        order: list[int] = []
        while len(left) >= self.ncls_per_batch:
            for label in random.sample(list(left), self.ncls_per_batch):
                order.extend(left[label].pop(0))
                if not left[label]:
                    del left[label]
        return iter(order)

    def __len__(self) -> int:
        return self.length


def build_sampler(
    sampler_type: str,
    cfg: Any = None,
    data_source: Any = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler[int]:
    """Build a sampler over `data_source` (a list of Datum); ValueError for an unknown type."""
    check_availability(sampler_type, AVAI_SAMPLERS)
    match sampler_type:
        case "RandomSampler":
            return RandomSampler(data_source)
        case "SequentialSampler":
            return SequentialSampler(data_source)
        case "RandomDomainSampler":
            return RandomDomainSampler(data_source, batch_size, n_domain)
        case "SeqDomainSampler":
            return SeqDomainSampler(data_source, batch_size)
        case _:
            return RandomClassSampler(data_source, batch_size, n_ins)
