"""Import few-shot splits of CoOp, to train on the very images of an earlier run.

    python mmrl.py import-fewshot --dataset oxford_pets --root DATA
    python mmrl.py import-fewshot old/split_fewshot/shot_16-seed_1.pkl --dataset oxford_pets --root DATA
    python mmrl.py import-fewshot split.pkl --shots 16 --seed 1 --dataset configs/datasets/mydata.yaml --root DATA

Without files, all shot_K-seed_S.pkl in the dataset's folder split_fewshot are imported. Each becomes
shot_K-seed_S.jsonl there, which runs with these shots and this seed use instead of a draw. Paths of another machine
are mapped by their ends; if one image cannot be found in the dataset's lists, nothing is written. A pickle that asks
for anything but Dassl's records is refused, and nothing of it is executed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from common.text import print_anything
from datasets import OWN, find_name, load_all
from datasets.prepare.coop_pickle import read_pickle, to_records
from datasets.shared import fewshot
from datasets.shared.files import Splits

NAME = re.compile(r"shot_(\d+)-seed_(-?\d+)\.pkl")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python mmrl.py import-fewshot",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE.pkl", help="CoOp's pickles (default: those in the dataset)")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="as in configs/datasets, or a YAML file")
    parser.add_argument("--root", default="data", metavar="DATA", help="folder of all datasets (data)")
    parser.add_argument("--shots", type=int, metavar="K", help="if the file's name does not say")
    parser.add_argument("--seed", type=int, metavar="S", help="if the file's name does not say")
    args = parser.parse_args(argv)
    if (args.shots is None) != (args.seed is None):
        parser.error("--shots and --seed go together")
    if args.shots is not None and len(args.files) != 1:
        parser.error("--shots and --seed are of one FILE.pkl")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status is 0 if all files are imported."""
    print_anything()
    args = parse_args(argv)
    try:
        for path, header, records in [prepare(file, *rest) for file, *rest in plan(args)]:
            fewshot.write(path, header, records)
            print(f"{header['dataset']}: imported {len(records)} images of {header['shots']} shots as {path}")
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def plan(args: argparse.Namespace) -> list[tuple[str, Any, Splits, int, int]]:
    """Each pickle with the dataset, its full lists, shots and seed.

    Raises:
        FileNotFoundError: the dataset or all pickles are missing.
        ValueError: an unknown dataset, or a file name that does not tell shots and seed.
    """
    from dassl.data.datasets import DATASET_REGISTRY

    cfg = settings(args.dataset, args.root)
    load_all()
    dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg)
    full = dataset.uncut
    if full.train == full.test:
        raise ValueError(f"{dataset.name} is for testing only: it has no few-shot splits")
    folder = os.path.dirname(dataset.fewshot_path(1, 1))
    files = args.files or sorted(str(path) for path in Path(folder).glob("*.pkl") if NAME.fullmatch(path.name))
    if not files:
        raise FileNotFoundError(f"there is no shot_K-seed_S.pkl in {folder}: name the files to import")
    planned = []
    for file in files:
        match = NAME.fullmatch(os.path.basename(file))
        if args.shots is None and match is None:
            raise ValueError(f"{file} is not called shot_K-seed_S.pkl: give --shots and --seed")
        shots, seed = (args.shots, args.seed) if args.shots is not None else map(int, match.groups())  # type: ignore[union-attr]
        planned.append((file, dataset, full, shots, seed))
    return planned


def prepare(file: str, dataset: Any, full: Splits, shots: int, seed: int) -> tuple[str, Any, list[dict[str, Any]]]:
    """Path, header and records of the file to write.

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
    """What a loader reads of a run's configuration, for all images of a dataset.

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
    node = SimpleNamespace(NAME=find_name(dataset), ROOT=root, NUM_SHOTS=-1, SUBSAMPLE_CLASSES="all", **values)
    return SimpleNamespace(DATASET=node, SEED=1)


def dataset_node(path: str) -> dict[str, str]:
    """What a YAML file says under DATASET; ValueError if that is not a dataset's name and other text."""
    try:
        content = yaml.safe_load(Path(path).read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    found = content.get("DATASET") if isinstance(content, dict) else None
    if not isinstance(found, dict) or "NAME" not in found or not all(isinstance(v, str) for v in found.values()):
        raise ValueError(f"{path} names no DATASET.NAME: it is not the configuration of a dataset")
    return found


if __name__ == "__main__":
    sys.exit(main())
