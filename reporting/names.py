"""The names and orders of a report: data sets as their configurations call them, methods, the paper's own lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import datasets
import trainers
from reporting.load.result import Key
from runs.protocols import check_name

# The methods as the paper's tables call them.
PAPER_METHODS = {
    "CLIP": "ZeroshotCLIP",
    "MMA": "MultiModalAdapter",
    "MetaPrompt": "Meta_B2N",
    "AlignedNorm": "ALIGNEDNORM",
}
PAPER_BACKBONE = "ViT-B/16"
PAPER_DATASETS = (
    "imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
).split()
AVERAGE = "average"  # over data sets, where a data set's name could stand
DOMAIN_VARIANTS = {
    "imagenet": "imagenetv2 imagenet_sketch imagenet_a imagenet_r".split(),
    "drawn_letters": "drawn_letters_v2 drawn_letters_sketch drawn_letters_a drawn_letters_r".split(),
}


def dataset_name(registry: str, config: str) -> str:
    """Return a data set's name in a report: that of the configuration file that its run was given.

    Args:
        registry: the loader, as `DATASET.NAME` has it.
        config: stem of the configuration file; "" where that is not known.

    Returns:
        "" for own data of which only the loader is known. A file that has the name of another data set's does not
        pass for it: own data are then `dtd (own)`, others go by their loader.
    """
    loader = datasets.config_name(registry)
    taken = config != loader and config in (AVERAGE, *map(datasets.config_name, datasets.NAMES))
    if registry in datasets.OWN:
        return f"{config} (own)" if taken else config
    return config if config and not taken else loader or registry


def dataset_order(name: str) -> tuple[int, str]:
    """Return the sort key of a data set: as the paper lists them, others behind by name."""
    listed = [*PAPER_DATASETS, *DOMAIN_VARIANTS["imagenet"]]
    return (listed.index(name) if name in listed else len(listed), name)


def is_domain_variant(name: str, source: str) -> bool:
    """Return whether a data set is known to show the classes of `source` in another domain (`imagenet_r`)."""
    return name in DOMAIN_VARIANTS.get(source, ())


def with_average(names: Sequence[str]) -> list[str]:
    """Return the names of data sets, behind AVERAGE where there are several."""
    return [AVERAGE, *names] if len(names) > 1 else list(names)


def block_name(name: str, names: Sequence[str]) -> str:
    """Return what a table calls its lines of a data set, or of the average over `names`."""
    return f"average of {len(names)}" if name == AVERAGE else name


def method_order(method: str, order: Sequence[str] = ()) -> tuple[int, int, int, str]:
    """Return the sort key of a method: those of `order` as it has them, then the others.

    These begin with zero-shot CLIP and end with MMRL's family and methods that are not this project's, such as the
    reader's own; between them they stand as `trainers.METHODS` lists them, each with plug-ins behind itself without.
    """
    known, (host, _) = list(trainers.METHODS), trainers.plugins.split_title(method)
    place = {"ZeroshotCLIP": -1, "MMRL": 1, "MMRLpp": 1, "ALIGNEDNORM": 1}.get(host, 0 if host in known else 2)
    listed = order.index(method) if method in order else len(order)
    return (listed, place, known.index(host) if host in known else len(known), method)


def in_order(keys: Iterable[Key], order: Sequence[str] = ()) -> list[Key]:
    """Return keys once each, by the rows that they are of: as `method_order` has their methods, then by variant."""

    def place(key: Key) -> tuple[Any, ...]:
        return (method_order(key.row.method, order), key.row.variant, key.row.foreign)

    return sorted(dict.fromkeys(keys), key=place)


def variant_of(settings: str, default: str) -> str:
    """Return what `settings`, a run folder's name such as `vit_b16+ALPHA=0.5`, says beyond the default `vit_b16`."""
    if not settings or settings == default:
        return ""
    return settings[len(default) :] if default and settings.startswith(f"{default}+") else settings


def check_names(what: str, asked: Sequence[str], known: Iterable[str]) -> None:
    """Raise ValueError on a name that is unknown (with the nearest one) or given twice."""
    choices = list(known)
    for name in asked:
        check_name(what, name, choices)
        if asked.count(name) > 1:
            raise ValueError(f"{what} {name} is given twice")
