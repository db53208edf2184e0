"""Results from `log.txt` of other repositories of the CoOp family (CoOp, MaPLe, MMRL, ...).

Their logs begin with the arguments and the configuration as Dassl prints them and end, per test, with `=> result`.
What a log does not say is taken from its folder: `base2new/test_new/DATASET/shots_16/METHOD/CFG/seed1`,
`few_shot/DATASET/shots_4/METHOD/CFG/seed1`, `DATASET/METHOD/CFG_16shots/.../seed1`,
`evaluation/METHOD/CFG_16shots/DATASET/seed1`.
"""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import trainers
from reporting.load.result import Key, Result, Row
from reporting.names import PAPER_BACKBONE, dataset_name, variant_of
from reporting.seed_means import TRAINED
from runs.protocols import dataset_in_path, dataset_names, default_config

_COUNTS = re.compile(r"^\* (total|correct): ([\d,]+)\s*$")
_ARGUMENT = re.compile(r"^(config_file|dataset_config_file|eval_only|model_dir|output_dir|seed|trainer): ?(.*)$")
_SHOTS = re.compile(r"^shots_(\d+)$|_(\d+)shots$")


class DamagedLog(ValueError):
    """A log without a result, or that does not say what it is of; the text says which."""


class Facts(NamedTuple):
    """What a log says of its run; empty where it says nothing."""

    arguments: dict[str, str]
    settings: dict[str, str]  # of the configuration: dotted key -> value
    counts: dict[str, int]  # total and correct of the last test
    finished: bool


def read_facts(path: Path) -> Facts:
    """Read a log's arguments and configuration, and the counts of its last test."""
    arguments: dict[str, str] = {}
    counts: dict[str, int] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        argument = _ARGUMENT.match(line)
        if argument:
            arguments.setdefault(argument[1], argument[2].strip())
        elif line.strip() == "=> result":
            counts = {}
        elif count := _COUNTS.match(line):
            counts[count[1]] = int(count[2].replace(",", ""))
    finished = any(line.strip() in TRAINED for line in lines)
    return Facts(arguments, _settings(lines), counts, finished)


def _settings(lines: list[str]) -> dict[str, str]:
    """Return the leaves of the configuration that Dassl prints under `** Config **`, indented by two spaces a level."""
    found: dict[str, str] = {}
    place: list[str] = []
    try:
        start = lines.index("** Config **") + 2
    except ValueError:
        return found
    for line in lines[start:]:
        match = re.match(r"^( *)([A-Z][A-Za-z0-9_]*): ?(.*)$", line)
        if not match:
            if line.startswith(("Collecting", "*", "Loading")):
                break
            continue
        place = [*place[: len(match[1]) // 2], match[2]]
        if match[3]:
            found[".".join(place)] = match[3].strip()
    return found


def read_result(path: Path) -> Result:
    """Return the last test's result in a folder's logs: public Dassl starts `log.txt-DATE` where it finds a `log.txt`.

    Args:
        path: the folder's `log.txt`.

    Raises:
        DamagedLog: no result, a training that did not end, or nothing that says of which run it is.
    """
    newest_first = sorted(path.parent.glob("log.txt-*"), reverse=True) + [path]
    for place, log in enumerate(newest_first, start=1):
        try:
            return _read(log)
        except DamagedLog:
            if place == len(newest_first):
                raise
    raise AssertionError("path itself is the last of the logs")


def _read(path: Path) -> Result:
    facts = read_facts(path)
    if {"total", "correct"} - facts.counts.keys() or not facts.counts["total"]:
        raise DamagedLog(f"{path} holds no result")
    if facts.arguments.get("eval_only", "False") != "True" and not facts.finished:
        raise DamagedLog(f"{path} is of a training that did not end")
    accuracy = 100.0 * facts.counts["correct"] / facts.counts["total"]  # the log's own has one decimal
    return Result(_key(path, facts), _seed(path, facts), accuracy, path)


def _seed(path: Path, facts: Facts) -> int:
    for text in (facts.arguments.get("seed", ""), path.parent.name.removeprefix("seed")):
        if text.isdecimal():
            return int(text)
    raise DamagedLog(f"{path} names no seed, and neither does its folder")


def _key(path: Path, facts: Facts) -> Key:
    parts = path.parent.parts
    known = {*trainers.METHODS, *trainers.ALIASES, *trainers.plugins.OFFICIAL}
    method = facts.arguments.get("trainer") or facts.settings.get("TRAINER.NAME") or _among(parts, known)
    method = trainers.full_title(method)
    dataset = Path(facts.arguments.get("dataset_config_file", "")).stem or _among(parts, dataset_names())
    dataset = dataset or dataset_name(facts.settings.get("DATASET.NAME", ""), "")
    shots = facts.settings.get("DATASET.NUM_SHOTS", "")
    if not shots.isdecimal():  # a test's own is -1: the model's is meant
        shots = _shots(parts) or _shots(Path(facts.arguments.get("model_dir", "")).parts)
    for what, value in (("method", method), ("dataset", dataset), ("number of shots", shots)):
        if not value:
            raise DamagedLog(f"{path} names no {what}, and neither does its folder")
    settings = Path(facts.arguments.get("config_file", "")).stem or parts[-2]
    protocol, source, part = _protocol(parts, dataset, settings, facts)
    if not source:
        model = facts.arguments["model_dir"]
        raise DamagedLog(f"{path} does not say on which data its model was trained: {model} names no known data set")
    variant = variant_of(settings, default_config(protocol, source, method, int(shots)))
    backbone = facts.settings.get("MODEL.BACKBONE.NAME", PAPER_BACKBONE)
    return Key(protocol, backbone, Row(method, variant, True), source, dataset, part, int(shots))


def _among(parts: tuple[str, ...], known: Container[str]) -> str:
    return next((part for part in reversed(parts) if part in known), "")


def _shots(parts: tuple[str, ...]) -> str:
    return next((found[1] or found[2] for part in reversed(parts) if (found := _SHOTS.search(part))), "")


def _protocol(parts: tuple[str, ...], dataset: str, settings: str, facts: Facts) -> tuple[str, str, str]:
    """Return protocol, data set trained on ("": unknown) and classes tested.

    MMRL's release keeps cross-dataset runs under `base2new`.
    """
    if {"evaluation", "xd"} & {*parts} or "cross_datasets" in settings or facts.settings.get("TASK") == "CD":
        if facts.arguments.get("eval_only") == "False":
            return "xd", dataset, "all"
        trained = Path(facts.arguments.get("model_dir", ""))
        named = _among(trained.parts, dataset_names()) or dataset_in_path(trained)
        return "xd", named if trained.parts else "imagenet", "all"  # zero-shot CLIP stands beside models of ImageNet
    part = facts.settings.get("DATASET.SUBSAMPLE_CLASSES")
    part = part or ("base" if "train_base" in parts else "new" if "test_new" in parts else "all")
    return "fewshot" if part == "all" else "base2new", dataset, part
