"""Results by cell of a table: what is missing is marked, what does not belong together is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from reporting.likeness import cautions, unlike_halves, unlike_tests
from reporting.load.result import Key, Result
from reporting.names import in_order
from reporting.stats import Cell
from runs.protocols import trained_by
from runs.record import differences

# Settings in which the runs of a cell may differ.
_PER_RUN = ("SEED", "run.model", "run.load_epoch")


class Cells:
    """Results by key, checked against each other.

    Attributes:
        refusals: a line for each cell that is refused, with the reason.
        notes: a line for each result that is left out.
    """

    def __init__(self, results: Iterable[Result], seeds: Sequence[int], defaults: Mapping[str, Any]) -> None:
        self.seeds = tuple(seeds)
        self.refusals: list[str] = []
        self.notes: list[str] = []
        self._results: dict[Key, list[Result]] = defaultdict(list)
        for result in results:
            if result.seed in self.seeds:
                self._results[result.key].append(result)
            else:
                self.notes.append(f"{result.path}: seed {result.seed} is not asked for (--seeds)")
        self._drop_second_tests()
        self._refused = {key: self._check(key, some, defaults) for key, some in self._results.items()}
        self._refuse_unlike_tests()
        self._drop_halves_that_are_no_pair()

    def keys(self) -> list[Key]:
        """Return all keys with results, in reading order."""
        return in_order(key for key, some in self._results.items() if some)

    def under(self, names: Mapping[Key, Key]) -> Cells:
        """Return the cells of `names` alone, each under the key that it has there."""
        other = copy(self)
        other._results = defaultdict(list, {new: [*self._results.get(old, ())] for old, new in names.items()})
        other._refused = {new: why for old, new in names.items() if (why := self._refused.get(old))}
        return other

    def results(self, key: Key) -> list[Result]:
        """Return the results of a cell, by seed."""
        return sorted(self._results.get(key, []), key=lambda result: result.seed)

    def lend(self, key: Key, some: Sequence[Result]) -> None:
        """Add another cell's results to a cell that has no result of these seeds."""
        seeds = {result.seed for result in self._results[key]}
        self._results[key] += [result for result in some if result.seed not in seeds]

    def get(self, key: Key) -> Cell:
        """Return the cell of `key`; one without a number where nothing ran."""
        return self.over_seeds(key, lambda result: result.accuracy)

    def over_seeds(self, key: Key, number: Callable[[Result], float | None]) -> Cell:
        """Return the cell of `key` for some number of its results, None of one that has none."""
        if self._refused.get(key):
            return Cell(wanted=self.seeds, refused=self._refused[key])
        found = [(result, value) for result in self.results(key) if (value := number(result)) is not None]
        where = key.dataset if key.part == "all" else f"{key.dataset}, {key.part}"
        said = dict.fromkeys(f"{where}: {line}" for result, _ in found for line in cautions(result.record))
        return Cell.over_seeds({result.seed: value for result, value in found}, self.seeds, said)

    def halves(self, key: Key) -> tuple[Cell, Cell]:
        """Return base and new, each over the seeds that have both."""
        base, new = (self.get(key._replace(part=part)) for part in ("base", "new"))
        if base.refused or new.refused:
            return base, new
        common = sorted(base.values.keys() & new.values.keys())
        base, new = (
            Cell.over_seeds({seed: half.values[seed] for seed in common}, self.seeds, half.cautions)
            for half in (base, new)
        )
        return base, new

    def _check(self, key: Key, some: list[Result], defaults: Mapping[str, Any]) -> str:
        """Return why the results of a key make no cell, or ""."""
        name = f"{key.row.label} on {key.dataset} ({key.protocol}, {key.part}, {key.shots} shots)"
        first: dict[int, Result] = {}
        for result in some:
            other = first.setdefault(result.seed, result)
            if other is not result:
                self.refusals.append(f"{name}: seed {result.seed} twice, in {other.path} and {result.path}")
                return "seed twice"
        with_config = [result for result in some if result.config]
        for result in with_config[1:]:
            old, new = ({k: v for k, v in r.config.items() if k not in _PER_RUN} for r in (with_config[0], result))
            changed = differences({**defaults, **old}, {**defaults, **new})
            if changed:
                self.refusals.append(
                    f"{name}: settings differ between {with_config[0].path} and {result.path}: {'; '.join(changed)}"
                )
                return "mixed settings"
        return ""

    def _drop_second_tests(self) -> None:
        """Leave out tests of a model where the run that trained it has tested it already, such as on xd's source."""
        for some in self._results.values():
            trained = {r.record.get("run_id"): r for r in some if not r.config.get("run.model")}
            for result in [result for result in some if result.config.get("run.model")]:
                first = trained.get(result.config["run.model"])
                if first is not None and first.seed == result.seed:
                    some.remove(result)
                    self.notes.append(f"{result.path} tests once more what {first.path} has tested")

    def _refuse_unlike_tests(self) -> None:
        """Refuse all cells of a table's data set whose results are not of the same test images."""
        tables: dict[tuple[str, ...], list[Key]] = defaultdict(list)
        for key in self.keys():
            tables[key.protocol, key.backbone, key.dataset, key.part].append(key)
        for keys in tables.values():
            first, *others = [result for key in keys for result in self._results[key]]
            found = ((other, why) for other in others if (why := unlike_tests(first.record, other.record)))
            for other, why in found:
                name = f"{first.key.dataset} ({first.key.protocol}, {first.key.part})"
                self.refusals.append(
                    f"{name}: {first.path} and {other.path} were not tested on the same images ({why}): "
                    "report them apart, or run one of them again"
                )
                self._refused |= {key: self._refused[key] or "other images" for key in keys}
                break

    def _drop_halves_that_are_no_pair(self) -> None:
        """Leave out results on new classes, or on all, that do not belong to what the base half's folder has now."""
        for key, some in self._results.items():
            if key.part != "new" and key.protocol != "joint":
                continue
            half = key._replace(protocol=trained_by(key.protocol), part="base")
            bases = {result.seed: result for result in self._results.get(half, [])}
            for result in list(some):
                why = _no_pair(bases[result.seed], result) if result.seed in bases else ""
                if why:
                    some.remove(result)
                    self.notes.append(f"{result.path} {why}")


def _no_pair(base: Result, new: Result) -> str:
    """Return why two results are not of one model's test on base classes and on others, or ""."""
    tested, trained = new.config.get("run.model"), base.record.get("run_id")
    if tested and trained and tested != trained:
        return "tested another model than the base half has now: test it again"
    why = unlike_halves(base.record, new.record) if new.key.part == "new" else ""
    return why and f"is no pair with {base.path}: {why}"
