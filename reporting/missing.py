"""What a report lacks, and the commands of the grid that would run it."""

from __future__ import annotations

import itertools
import os
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reporting.cells import Cells
from reporting.changes import file_of, full_name, hidden, names_other_data, shown
from reporting.likeness import PLACE
from reporting.load.result import Key, Result, Row
from reporting.names import method_order
from reporting.sweeps import is_ablation, sweeps
from runs.config import RESOLVED, read_yaml
from runs.protocols import dataset_names, default_config, method_names, parts_of, steps_of
from trainers.plugins import split_title


@dataclass(frozen=True)
class MissingRuns:
    """Runs that are not there: each data set with each method, number of shots and seed.

    Attributes:
        source: xd: the data set trained on.
        cfg: a configuration file, where it is not the default.
        swept: settings that the folders' names show, as (key, values).
        options: settings that they do not show.
        output: the folder of all runs.
        root: the folder of all data sets, where a record tells.
        moved: data sets whose configuration names other data than the runs that are there had.
    """

    protocol: str
    backbone: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    source: str = ""
    cfg: str = ""
    swept: tuple[tuple[str, tuple[str, ...]], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    output: str = ""
    root: str = ""
    moved: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the runs in words."""
        settings = "".join(f", {key} = {' or '.join(values)}" for key, values in self.swept)
        trained = f" trained on {self.source}" if self.source else ""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {_join(self.seeds)}"
        what = f"{self.protocol}{trained}, {_join(self.methods)}{f' [{self.cfg}]' if self.cfg else ''}{settings}"
        return f"{what}: {_join(self.datasets)}, {_join(self.shots)} shots, {seeds}"

    def command(self) -> str:
        """Return the command that runs them, or why there is none."""
        unknown = [name for name in (*self.datasets, self.source) if name and name not in dataset_names()]
        unknown += [name for name in self.methods if split_title(name)[0] not in method_names()]
        if unknown:
            return f"# no command of the grid: it has no configuration of {_join(unknown)}"
        if self.moved:
            names = _join(self.moved)
            return f"# no command of the grid: its configuration of {names} names other data than these runs had"
        targets = [name for name in self.datasets if name != self.source] or self.datasets  # training tests the source
        words = ["python", "mmrl.py", "grid", self.protocol, "--datasets", *targets, "--methods", *self.methods]
        words += ["--shots", *map(str, self.shots), "--seeds", *map(str, self.seeds)]
        words += ["--source", self.source] if self.source else []
        words += ["--cfg", self.cfg] if self.cfg else []
        words += [word for key, values in self.swept for word in ("--set", f"{key}={','.join(values)}")]
        words += ["--root", self.root] if self.root else []
        words += ["--output", self.output] if self.output else []
        words += ["--", *(word for pair in self.options for word in pair)] if self.options else []
        return shlex.join(words)


def missing(cells: Cells, keys: Sequence[Key]) -> list[MissingRuns]:
    """Return everything that tables of these keys lack, in as few commands as say exactly that."""
    made: dict[Row, list[Result]] = defaultdict(list)  # what has not run is to be made as what has, by row
    for key in cells.keys():
        made[key.row] += cells.results(key)
    moved = {key.dataset for key in cells.keys() for one in cells.results(key)[:1] if names_other_data(key, one.config)}
    found = []
    for key in dict.fromkeys(_wanted(cells, keys)):
        seeds = _missing_seeds(cells, key)
        if seeds and not key.row.foreign:
            found.append(_missing_runs(key, seeds, made, moved))
    return _merge(found)


def _wanted(cells: Cells, keys: Sequence[Key]) -> Iterator[Key]:
    """Yield a key for each cell of the tables; the base half stands for both."""
    blocks: dict[tuple[Any, ...], list[Key]] = defaultdict(list)
    for key in keys:
        if not is_ablation(key):
            shots = 0 if key.protocol == "fewshot" else key.shots
            blocks[key.protocol, key.backbone, shots, key.source if key.protocol == "xd" else ""].append(key)
    for (protocol, *_), some in blocks.items():
        rows = sorted({key.row for key in some}, key=lambda row: (method_order(row.method), row))
        names = dict.fromkeys(key.dataset for key in some)
        for row, name, shots in itertools.product(rows, names, sorted({key.shots for key in some})):
            key = some[0]._replace(row=row, dataset=name, shots=shots)
            yield key if protocol == "xd" else key._replace(source=name, part=parts_of(protocol)[0])
    yield from (key._replace(part="base") for key in keys if is_ablation(key))
    for sweep in sweeps(cells, keys):
        for value, name in itertools.product(sweep.values, sweep.datasets):
            if name not in sweep.own:
                yield sweep.key(value, name)


def _missing_seeds(cells: Cells, key: Key) -> tuple[int, ...]:
    """Return the seeds without a result; none for a refused cell, which has results of which one must go."""
    found = [cells.get(key._replace(part=part)) for part in parts_of(key.protocol)]
    if any(cell.refused for cell in found):
        return ()
    return tuple(seed for seed in cells.seeds if any(seed not in cell.values for cell in found))


def _missing_runs(key: Key, seeds: tuple[int, ...], made: dict[Row, list[Result]], moved: set[str]) -> MissingRuns:
    row, source = key.row, key.source if key.protocol == "xd" else ""
    alike = [result for result in made.get(row, []) if result.record]
    alike = alike or [r for plain, some in made.items() if plain.method == row.method for r in some if r.record]
    near = sorted(alike, key=lambda r: (r.key.protocol != key.protocol, r.key.dataset != key.dataset))
    options = hidden(near[0].key, near[0].config) if near else {}
    output, root = places_of(near[0]) if near else ("", "")
    return MissingRuns(
        protocol=key.protocol,
        backbone=key.backbone,
        datasets=(key.dataset,),
        methods=(row.method,),
        shots=(key.shots,),
        seeds=seeds,
        source=source,
        cfg="" if file_of(key) == default_config(key.protocol, key.source, row.method, key.shots) else file_of(key),
        swept=tuple(_swept(row, near)),
        options=tuple(sorted((name, str(value)) for name, value in options.items() if name not in PLACE)),
        output=output,
        root=root,
        moved=tuple(name for name in dict.fromkeys((source, key.dataset)) if name in moved),
    )


def _swept(row: Row, alike: Iterable[Result]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the settings in a row's name with the values of its runs: folders' names show some letters otherwise."""
    values = next((shown(r.key, r.config) for r in alike if r.key.row == row), {})
    for short, value in row.changes.items():
        name = full_name(row.method, short)
        yield name, (str(values.get(name, value)),)


def places_of(result: Result) -> tuple[str, str]:
    """Return the folders of all runs and of all data sets of a run; "" where they cannot be told."""
    output = ""
    for folder in (step.folder for step in steps_of(result.key.protocol)):
        above = result.path.parents[5 + folder.count("/") :]  # of DATASET/shots_N/METHOD/CFG/seedN
        if above and result.path.is_relative_to(above[0] / folder):
            output = os.fspath(above[0])
    try:
        root = str(read_yaml(result.path / RESOLVED).get("DATASET", {}).get("ROOT", ""))
    except (FileNotFoundError, ValueError):  # moved away or damaged: the command then leaves the folder to the reader
        root = ""
    return output, root


def _merge(found: Sequence[MissingRuns]) -> list[MissingRuns]:
    """Join what differs in one list alone, or in the value of the only setting."""
    merged = list(found)
    for field in ("datasets", "shots", "methods"):
        groups: dict[MissingRuns, dict[Any, None]] = defaultdict(dict)
        for runs in merged:
            groups[_with(runs, field, ())] |= dict.fromkeys(getattr(runs, field))
        merged = [_with(runs, field, tuple(entries)) for runs, entries in groups.items()]
    by_setting: dict[MissingRuns, list[str]] = defaultdict(list)
    for runs in merged:
        (name, values), *others = runs.swept or (("", ()),)
        alone = name and not others
        by_setting[replace(runs, swept=((name, ()),)) if alone else runs] += values if alone else ()
    return [
        replace(runs, swept=((runs.swept[0][0], tuple(values)),)) if values else runs
        for runs, values in by_setting.items()
    ]


def _with(runs: MissingRuns, field: str, value: Any) -> MissingRuns:
    changes: dict[str, Any] = {field: value}
    return replace(runs, **changes)


def _join(entries: Iterable[object]) -> str:
    return ", ".join(map(str, entries))
