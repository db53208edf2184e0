"""From a few lists to runs: every combination once, each test after its training run."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from yacs.config import CfgNode

from runs import config
from runs.options import NAMED
from runs.protocols import (
    PROTOCOLS,
    SHOTS,
    SOURCE,
    STEPS,
    Run,
    check_method,
    check_name,
    choose_config,
    dataset_file,
    dataset_names,
    method_file,
)

# What the grid gives every run, and by what it is asked for.
TAKEN = {
    "TASK": "the protocol",
    "SEED": "--seeds",
    "DATASET.NAME": "--datasets",
    "DATASET.NUM_SHOTS": "--shots",
    "DATASET.SUBSAMPLE_CLASSES": "the protocol",
    "TRAINER.NAME": "--methods",
    "TRAINER.PLUGINS": "--methods, as in CoOp+DePT",
    "DATASET.ROOT": "--root",
    "OUTPUT_DIR": "--output",
}
Chain = list[Run]  # a training run and its tests, in that order


@dataclass(frozen=True)
class Grid:
    """One grid, as the command line or a suite gives it.

    Attributes:
        source: xd: the dataset to train on; `datasets` are its targets.
        cfg: a configuration for all methods; empty: what the method's table says.
        changes: settings with their values, as text; every combination is a run.
        options: `KEY VALUE` words for all runs.
        own: by dataset, keys of `changes` that keep the dataset's own value.
    """

    protocol: str
    datasets: Sequence[str]
    methods: Sequence[str] = ("MMRL",)
    shots: Sequence[int] = (SHOTS,)
    seeds: Sequence[int] = (1, 2, 3)
    source: str = SOURCE
    cfg: str = ""
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    options: Sequence[str] = ()
    own: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ValueError for an unknown name (with the nearest), an empty list, an entry given twice, or a setting
        that is not for the user to set.
        """
        check_name("protocol", self.protocol, PROTOCOLS)
        lists = {"datasets": self.datasets, "methods": self.methods, "shots": self.shots, "seeds": self.seeds}
        for what, entries in {**lists, **self.changes}.items():
            if not entries:
                raise ValueError(f"{what}: the list is empty, and nothing would run")
            twice = sorted({str(entry) for entry in entries if list(entries).count(entry) > 1})
            if twice:
                raise ValueError(f"{what}: given twice: {', '.join(twice)}")
        for name in (*self.datasets, *self.own, *([self.source] if self.protocol == "xd" else [])):
            check_name("dataset", name, dataset_names())
        for name in self.methods:
            check_method(name)
        for key in self.changes:
            if key in TAKEN:
                raise ValueError(f"{key} cannot be swept: it is for the grid itself to set ({TAKEN[key]})")
            if key in config.INCIDENTAL:
                raise ValueError(f"{key} cannot be swept: it changes no result: give it after --")
        for key in self.options[::2]:
            if key in TAKEN:
                raise ValueError(f"{key} cannot be given after --: it is for the grid itself to set ({TAKEN[key]})")
        for what, numbers, least in (("shots", self.shots, 1), ("seeds", self.seeds, 0)):
            wrong = [number for number in numbers if number < least]
            if wrong:
                raise ValueError(f"{what}: must be {least} or more, not {wrong[0]}")


def expand(grids: Iterable[Grid]) -> list[Run]:
    """Return all runs of the grids, each once, a training run right before its tests.

    Raises:
        ValueError: a grid is wrong (see `Grid.check`), an unknown setting or a value of the wrong type, or two runs
            that differ would share a folder.
    """
    found: dict[str, Run] = {}
    for grid in grids:
        grid.check()
        for run in _runs_of(grid):
            other = found.setdefault(run.name, run)
            if other != run:
                raise ValueError(
                    f"two runs that differ have the folder {run.name}: "
                    f"{' '.join(_settings(other)) or 'plain'}; {' '.join(_settings(run)) or 'plain'}"
                )
    return [run for chain in chains_of(found.values()) for run in chain]


def chains_of(runs: Iterable[Run], together: bool = False) -> list[Chain]:
    """Return training runs with their tests, in the order of `runs`; with `together` all seeds' in one chain."""
    chains: dict[Run, Chain] = {}
    for run in runs:
        trained = run.model or run
        chains.setdefault(_seedless(trained) if together else trained, []).append(run)
    return list(chains.values())


def seeds_of(runs: Iterable[Run]) -> list[list[Run]]:
    """Return lists of runs that differ in nothing but their seeds, in the order of `runs`."""
    found: dict[tuple[Run, Run | None], list[Run]] = {}
    for run in runs:
        found.setdefault((_seedless(run), run.model and _seedless(run.model)), []).append(run)
    return list(found.values())


def _seedless(run: Run) -> Run:
    return replace(run, seed=0, model=None)


def shard(runs: Iterable[Run], index: int, count: int, together: bool = False) -> list[Run]:
    """Return the runs of part `index` (from 1) of `count`: those of a chain (`chains_of`) are in the same part.

    Raises:
        ValueError: `index` is not in 1..count.
    """
    if not 1 <= index <= count:
        raise ValueError(f"the shard must be one of 1/{count} to {count}/{count}, not {index}/{count}")
    return [run for chain in chains_of(runs, together)[index - 1 :: count] for run in chain]


def split_values(text: str) -> list[str]:
    """Split `32,128` into two values; commas within brackets or quotes belong to a value, as in `[1, 2],[3]`."""
    values, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0 and not quote:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values] if text.strip() else []


def _settings(run: Run) -> list[str]:
    return [*(f"{key}={value}" for key, value in run.changes), *run.options]


def _runs_of(grid: Grid) -> Iterator[Run]:
    for method, shots in itertools.product(grid.methods, grid.shots):
        for trained_on in [grid.source] if grid.protocol == "xd" else grid.datasets:
            cfg = choose_config(grid.protocol, trained_on, method, shots, grid.cfg)
            for changes in _combinations(grid, trained_on, method, cfg):
                for seed in grid.seeds:
                    first = PROTOCOLS[grid.protocol][0]
                    train = Run(first, trained_on, method, cfg, shots, seed, changes, tuple(grid.options))
                    yield from _chain(grid, train)


def _chain(grid: Grid, train: Run) -> Iterator[Run]:
    yield train
    for step in PROTOCOLS[grid.protocol][1:]:
        for dataset in grid.datasets if grid.protocol == "xd" else [train.dataset]:
            yield replace(train, step=step, dataset=dataset, model=train)


def _combinations(grid: Grid, dataset: str, method: str, cfg: str) -> list[tuple[tuple[str, str], ...]]:
    """What each combination of values changes in the configuration, without what changes nothing; each once."""
    task = STEPS[PROTOCOLS[grid.protocol][0]].task
    plain = _identity(dataset, method, cfg, task, tuple(grid.options))
    swept = {key for key in grid.changes if key in plain and key not in grid.own.get(dataset, ())}
    # What is not swept here (another method's setting) still goes through the configuration once: its name is checked.
    axes = [[(key, v) for v in (values if key in swept else values[:1])] for key, values in grid.changes.items()]
    found: dict[tuple[tuple[str, str], ...], None] = {}
    for combination in itertools.product(*axes):
        words = tuple(word for pair in combination for word in pair)
        changed = _identity(dataset, method, cfg, task, (*grid.options, *words))
        found[tuple((key, str(changed[key])) for key in sorted(swept) if changed[key] != plain[key])] = None
    return list(found)


@cache
def _identity(*run: Any) -> dict[str, Any]:
    return config.identity(resolved(*run))


@cache
def resolved(dataset: str, method: str, cfg: str, task: str, options: tuple[str, ...]) -> CfgNode:
    """Resolve the configuration of a training run. Raises ValueError for an unknown key or a wrong value."""
    args = argparse.Namespace(**dict.fromkeys(NAMED))
    args.trainer, args.eval_only, args.model_dir = method, False, ""
    args.dataset_config_file, args.config_file = str(dataset_file(dataset)), str(method_file(method, cfg))
    args.opts = ["TASK", task, *options]
    return config.build_cfg(args)
