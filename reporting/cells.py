"""Results over seeds: mean, spread, how many; what is missing is marked, what does not belong together is refused."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reporting.result import Key, Result
from runs.likeness import DAGGER, cautions, unlike_halves, unlike_tests
from runs.record import differences
from runs.table import harmonic_mean

# Settings in which the runs of a cell may differ.
_PER_RUN = ("SEED", "run.model", "run.load_epoch")


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        values: by seed, in percent.
        wanted: the seeds that should be there.
        center: what stands for all seeds; None where there is no number.
        lacks: what else is missing, such as `3 of 11 data sets`.
        refused: why there is no number although there are results.
        cautions: lines on why the number means little; it is marked, and they stand below its table.
    """

    values: Mapping[int, float] = field(default_factory=dict)
    wanted: tuple[int, ...] = ()
    center: float | None = None
    lacks: str = ""
    refused: str = ""
    cautions: tuple[str, ...] = ()

    @classmethod
    def over_seeds(cls, values: Mapping[int, float], wanted: tuple[int, ...], cautions: Iterable[str] = ()) -> Cell:
        """The mean over the seeds that are there."""
        return cls(values, wanted, statistics.mean(values.values()) if values else None, cautions=tuple(cautions))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (n - 1); None below two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.center is not None and not self.lacks and len(self.values) == len(self.wanted)

    @property
    def mark(self) -> str:
        """What is missing or wrong, ending in `!`; empty where nothing is."""
        if self.refused:
            return f"{self.refused}!"
        if self.lacks:
            return f"{self.lacks}!"
        if self.center is not None and len(self.values) < len(self.wanted):
            return f"{len(self.values)} of {len(self.wanted)}!"
        return ""

    def text(self, decimals: int = 2) -> str:
        """Such as `81.20 ± 0.31`, `81.20 ± 0.44 (2 of 3!)`, `9.50 †`, `(mixed settings!)`; a dash where nothing is."""
        mark = f"({self.mark})" if self.mark else ""
        if self.center is None:
            return mark or "-"
        spread = "" if self.spread is None else f" ± {self.spread:.{decimals}f}"
        dagger = f" {DAGGER}" if self.cautions else ""
        return f"{self.center:.{decimals}f}{spread}{dagger} {mark}".strip()


def harmonic(base: Cell, new: Cell) -> Cell:
    """HM of the two means, as in the papers; its spread is that of the seeds' HMs."""
    refused, lacks = base.refused or new.refused, base.lacks or new.lacks
    if base.center is None or new.center is None:
        return Cell(wanted=base.wanted, lacks=lacks, refused=refused)
    values = {seed: harmonic_mean(base.values[seed], new.values[seed]) for seed in base.values.keys() & new.values}
    center = harmonic_mean(base.center, new.center)
    return Cell(dict(sorted(values.items())), base.wanted, center, lacks, refused, _cautions([base, new]))


def _cautions(cells: Iterable[Cell]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for cell in cells for line in cell.cautions))


def average(cells: Sequence[Cell]) -> Cell:
    """Mean over data sets; no number unless each of them has one. A seed counts where all data sets have it."""
    having = [cell for cell in cells if cell.center is not None]
    wanted = cells[0].wanted if cells else ()
    if len(having) < len(cells) or not cells:
        return Cell(wanted=wanted, lacks=f"{len(having)} of {len(cells)} data sets")
    common = set.intersection(*({*cell.values} for cell in cells))
    values = {seed: statistics.mean(cell.values[seed] for cell in cells) for seed in sorted(common)}
    center = statistics.mean(cell.center for cell in cells if cell.center is not None)
    lacks = "" if all(cell.complete for cell in cells) else "seeds missing"
    return Cell(values, wanted, center, lacks, cautions=_cautions(cells))


class Cells:
    """Results by key, checked.

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
        """All keys with results."""
        return [key for key, some in self._results.items() if some]

    def results(self, key: Key) -> list[Result]:
        """The results of a cell, by seed."""
        return sorted(self._results.get(key, []), key=lambda result: result.seed)

    def lend(self, key: Key, some: Sequence[Result]) -> None:
        """Add another cell's results to a cell that has no result of these seeds."""
        seeds = {result.seed for result in self._results[key]}
        self._results[key] += [result for result in some if result.seed not in seeds]

    def get(self, key: Key) -> Cell:
        """The cell of `key`; one without a number where nothing ran."""
        if self._refused.get(key):
            return Cell(wanted=self.seeds, refused=self._refused[key])
        some = self.results(key)
        where = key.dataset if key.part == "all" else f"{key.dataset}, {key.part}"
        said = dict.fromkeys(f"{where}: {line}" for result in some for line in cautions(result.record))
        return Cell.over_seeds({result.seed: result.accuracy for result in some}, self.seeds, said)

    def halves(self, key: Key) -> tuple[Cell, Cell]:
        """Base and new, each over the seeds that have both."""
        base, new = (self.get(key._replace(part=part)) for part in ("base", "new"))
        if base.refused or new.refused:
            return base, new
        common = base.values.keys() & new.values.keys()
        return tuple(  # type: ignore[return-value]
            Cell.over_seeds({s: value for s, value in half.values.items() if s in common}, self.seeds, half.cautions)
            for half in (base, new)
        )

    def _check(self, key: Key, some: list[Result], defaults: Mapping[str, Any]) -> str:
        """Why the results of a key make no cell, or ""."""
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
            for result in list(some):
                first = trained.get(result.config.get("run.model"))
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
        """Leave out results on new classes that do not belong to what the base half's folder has now."""
        for key, some in self._results.items():
            if key.part != "new":
                continue
            bases = {result.seed: result for result in self._results.get(key._replace(part="base"), [])}
            for result in list(some):
                why = _no_pair(bases[result.seed], result) if result.seed in bases else ""
                if why:
                    some.remove(result)
                    self.notes.append(f"{result.path} {why}")


def _no_pair(base: Result, new: Result) -> str:
    """Why two results are not the halves of one model's test, or ""."""
    tested, trained = new.config.get("run.model"), base.record.get("run_id")
    if tested and trained and tested != trained:
        return "tested another model than the base half has now: test it again"
    why = unlike_halves(base.record, new.record)
    return why and f"is no pair with {base.path}: {why}"
