"""Few-shot splits of CoOp, imported for a dataset (`python mmrl.py import-fewshot`)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from datasets import OWN, find_name, load_all
from datasets.prepare.coop_pickle import read_pickle, to_records
from datasets.shared import fewshot
from datasets.shared.files import Splits

NAME = re.compile(r"shot_(\d+)-seed_(-?\d+)\.pkl")


def import_pickles(files: Sequence[str], dataset: str, root: str, named: tuple[int, int] | None) -> None:
    """Import CoOp's pickles, all or none, and print a line for each.

    Args:
        files: the pickles; none: those in the dataset's folder.
        dataset: a dataset's name, or a YAML file of one.
        root: the folder of all datasets.
        named: shots and seed of the one file, where its name does not say them.

    Raises:
        FileNotFoundError: the dataset, a pickle or all of them are missing.
        ValueError: an unknown dataset, a file that does not tell shots and seed, is refused or does not fit.
    """
    for path, header, records in [prepare(file, *rest) for file, *rest in plan(files, dataset, root, named)]:
        fewshot.write(path, header, records)
        print(f"{header['dataset']}: imported {len(records)} images of {header['shots']} shots as {path}")


def plan(
    files: Sequence[str], name: str, root: str, named: tuple[int, int] | None
) -> list[tuple[str, Any, Splits, int, int]]:
    """Return each pickle with the dataset, its full lists, shots and seed.

    Raises:
        FileNotFoundError: the dataset or all pickles are missing.
        ValueError: an unknown dataset, or a file name that does not tell shots and seed.
    """
    from dassl.data.datasets import DATASET_REGISTRY

    cfg = settings(name, root)
    load_all()
    dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg)
    full = dataset.uncut
    if full.train == full.test:
        raise ValueError(f"{dataset.name} is for testing only: it has no few-shot splits")
    folder = os.path.dirname(dataset.fewshot_path(1, 1))
    files = files or sorted(str(path) for path in Path(folder).glob("*.pkl") if NAME.fullmatch(path.name))
    if not files:
        raise FileNotFoundError(f"there is no shot_K-seed_S.pkl in {folder}: name the files to import")
    planned = []
    for file in files:
        match = NAME.fullmatch(os.path.basename(file))
        if named is None and match is None:
            raise ValueError(f"{file} is not called shot_K-seed_S.pkl: give --shots and --seed")
        shots, seed = named or map(int, match.groups())  # type: ignore[union-attr]
        planned.append((file, dataset, full, shots, seed))
    return planned


def prepare(file: str, dataset: Any, full: Splits, shots: int, seed: int) -> tuple[str, Any, list[dict[str, Any]]]:
    """Return path, header and records of the file to write.

    Raises:
        FileNotFoundError: there is no such pickle.
        ValueError: it is refused or does not fit, or another import stands in its place.
    """
    belonging = dataset.belonging(full, shots, seed)
    records = to_records(file, read_pickle(file), belonging, full)
    path, header = dataset.fewshot_path(shots, seed), belonging.header(fewshot.IMPORTED)
    try:
        there = fewshot.read(path)
    except (FileNotFoundError, fewshot.Damaged):
        return path, header, records
    if there.header["source"] == fewshot.IMPORTED and there != (header, records):
        raise ValueError(f"{path} was imported before and is another: delete it to import {file}")
    return path, header, records


def settings(dataset: str, root: str) -> Any:
    """Return what a loader reads of a run's configuration, for all images of a dataset.

    Raises:
        FileNotFoundError: a YAML file that is not there.
        ValueError: an unknown dataset, or a YAML file of something else.
    """
    values = {"FOLDER": "", "TABLE": "", "CLASSNAMES": ""}
    if dataset.endswith((".yaml", ".yml")):
        found = dataset_node(dataset)
        values |= {key: found[key] for key in values if key in found}
        dataset = found["NAME"]
    elif find_name(dataset) in OWN:
        raise ValueError(f"--dataset {dataset}: name the YAML file that says where your data is")
    values |= {"NAME": find_name(dataset), "ROOT": root}
    node = SimpleNamespace(NUM_SHOTS=-1, SUBSAMPLE_CLASSES="all", ALL_TRAIN=False, **values)
    return SimpleNamespace(DATASET=node, SEED=1)


def dataset_node(path: str) -> dict[str, str]:
    """Read what a YAML file says under DATASET; ValueError if that is not a dataset's name and other text."""
    try:
        content = yaml.safe_load(Path(path).read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    found = content.get("DATASET") if isinstance(content, dict) else None
    if not isinstance(found, dict) or "NAME" not in found or not all(isinstance(v, str) for v in found.values()):
        raise ValueError(f"{path} names no DATASET.NAME: it is not the configuration of a dataset")
    return found
