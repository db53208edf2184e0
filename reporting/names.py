"""Names that a report speaks of: datasets as their configurations call them, methods, default configurations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import datasets
import trainers
from common.names import suggest
from runs.environment import PROJECT

CONFIGS = PROJECT / "configs"
# The methods as the paper's tables call them.
PAPER_METHODS = {"CLIP": "ZeroshotCLIP", "MMA": "MultiModalAdapter", "MetaPrompt": "Meta_B2N"}
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
    """A data set's name in a report: that of the configuration file that its run was given.

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
    """Sorts datasets as the paper lists them, others behind by name."""
    listed = [*PAPER_DATASETS, *DOMAIN_VARIANTS["imagenet"]]
    return (listed.index(name) if name in listed else len(listed), name)


def is_domain_variant(name: str, source: str) -> bool:
    """Whether a data set is known to show the classes of `source` in another domain (`imagenet_r`)."""
    return name in DOMAIN_VARIANTS.get(source, ())


def method_order(method: str) -> tuple[int, int, str]:
    """Sorts methods: zero-shot CLIP first, MMRL last, the others as `trainers.METHODS` lists them."""
    place = {"ZeroshotCLIP": -1, "MMRL": 1, "MMRLpp": 1}.get(method, 0)
    known = list(trainers.METHODS)
    return (place, known.index(method) if method in known else len(known), method)


def default_settings(method: str, protocol: str, dataset: str, shots: int) -> str:
    """The configuration that the scripts take where none is given (`configs/trainers/METHOD/protocols`), or ``""``."""
    path = CONFIGS / "trainers" / method / "protocols"
    if not path.is_file():
        return ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and not line.startswith("#"):
            *patterns, settings = words
            if all(map(fnmatchcase, (protocol, dataset, str(shots)), patterns)):
                return settings
    return ""


def variant_of(settings: str, default: str) -> str:
    """What `settings`, a run folder's name such as ``vit_b16+ALPHA=0.5``, says beyond the default ``vit_b16``."""
    if not settings or settings == default:
        return ""
    return settings[len(default) :] if default and settings.startswith(f"{default}+") else settings


def check_names(what: str, asked: Sequence[str], known: Iterable[str]) -> None:
    """Raise ValueError on a name that is unknown (with the nearest one) or given twice."""
    choices = list(known)
    for name in asked:
        if name not in choices:
            raise ValueError(f"unknown {what} {name}; {suggest(name, choices)}")
        if asked.count(name) > 1:
            raise ValueError(f"{what} {name} is given twice")
