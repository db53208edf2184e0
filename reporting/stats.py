"""Numbers over seeds: means and deviations, harmonic means, averages over data sets, paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runs.joint import harmonic_mean

OUTSIDE = "‡"  # marks a published number that is outside all re-runs by others
DAGGER = "†"  # marks a number that means little; the line below its table says why
PARTS = ("base", "new", "hm")


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        values: percent by seed.
        wanted: the seeds that should be there.
        center: the mean over seeds, or what else stands for all of them; None where there is no number.
        lacks: what else is missing, such as `3 of 11 data sets`.
        refused: why there is no number although there are results.
        cautions: lines on why the number means little; they stand below its table.
    """

    values: Mapping[Any, float] = field(default_factory=dict)
    wanted: tuple[Any, ...] = ()
    center: float | None = None
    lacks: str = ""
    refused: str = ""
    cautions: tuple[str, ...] = ()

    @classmethod
    def over_seeds(cls, values: Mapping[Any, float], wanted: tuple[Any, ...], cautions: Iterable[str] = ()) -> Cell:
        """Return the mean over the seeds that are there."""
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
        if self.refused or self.lacks:
            return f"{self.refused or self.lacks}!"
        lacking = self.center is not None and len(self.values) < len(self.wanted)
        return f"{len(self.values)} of {len(self.wanted)}!" if lacking else ""

    def text(self, decimals: int = 2) -> str:
        """Return the cell as readers see it; a dash where nothing is.

        Such as `81.20 ± 0.31`, `81.20 ± 0.44 (2 of 3!)`, `9.50 †` or `(mixed settings!)`.
        """
        mark = f"({self.mark})" if self.mark else ""
        if self.center is None:
            return mark or "-"
        spread = "" if self.spread is None else f" ± {self.spread:.{decimals}f}"
        dagger = f" {DAGGER}" if self.cautions else ""
        return f"{self.center:.{decimals}f}{spread}{dagger} {mark}".strip()


class Triple(NamedTuple):
    """Base, new and their harmonic mean."""

    base: Cell
    new: Cell
    hm: Cell

    @classmethod
    def of(cls, base: Cell, new: Cell) -> Triple:
        """Return the two and their harmonic mean."""
        return cls(base, new, harmonic(base, new))


def harmonic(base: Cell, new: Cell) -> Cell:
    """Return the HM of the two means, as in the papers; its spread is that of the seeds' HMs."""
    refused, lacks = base.refused or new.refused, base.lacks or new.lacks
    if base.center is None or new.center is None:
        return Cell(wanted=base.wanted, lacks=lacks, refused=refused)
    seeds = sorted(base.values.keys() & new.values.keys())
    values = {seed: harmonic_mean(base.values[seed], new.values[seed]) for seed in seeds}
    return Cell(values, base.wanted, harmonic_mean(base.center, new.center), lacks, refused, _cautions(base, new))


def average(cells: Sequence[Cell]) -> Cell:
    """Return the mean over data sets, without a number unless each has one. A seed counts where all of them have it."""
    centers = [cell.center for cell in cells if cell.center is not None]
    wanted = cells[0].wanted if cells else ()
    if len(centers) < len(cells) or not cells:
        return Cell(wanted=wanted, lacks=f"{len(centers)} of {len(cells)} data sets")
    common = set.intersection(*({*cell.values} for cell in cells))
    values = {seed: statistics.mean(cell.values[seed] for cell in cells) for seed in sorted(common)}
    lacks = "" if all(cell.complete for cell in cells) else "seeds missing"
    return Cell(values, wanted, statistics.mean(centers), lacks, cautions=_cautions(*cells))


def average_triple(triples: Sequence[Triple]) -> Triple:
    """Return the averages of base and new over data sets, and the HM of these averages."""
    return Triple.of(average([one.base for one in triples]), average([one.new for one in triples]))


def _cautions(*cells: Cell) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for cell in cells for line in cell.cautions))


class Difference(NamedTuple):
    """A mean difference, half its 95 % confidence interval (nan below two seeds), and how many seeds it is over."""

    mean: float
    half: float
    common: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f}" + ("" if math.isnan(self.half) else f" ± {self.half:.2f}")


def paired_difference(ours: Mapping[Any, float], theirs: Mapping[Any, float]) -> Difference:
    """Return the mean of `ours - theirs` over the seeds that both have; the interval is Student's t."""
    common = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if len(common) < 2:
        return Difference(common[0] if common else math.nan, math.nan, len(common))
    from scipy.special import stdtrit  # Student's t; scipy.stats has the same, and takes half a second to import

    half = stdtrit(len(common) - 1, 0.975) * statistics.stdev(common) / math.sqrt(len(common))
    return Difference(statistics.mean(common), float(half), len(common))


def difference(ours: Cell, theirs: Cell) -> str | None:
    """Return the paired difference of two cells as readers see it; None where one of them has no number."""
    found = paired_difference(ours.values, theirs.values)
    if ours.center is None or theirs.center is None or not found.common:
        return None
    dagger = f" {DAGGER}" if ours.cautions or theirs.cautions else ""
    return f"{found}{dagger}" + (f" (n = {found.common}!)" if found.common < len(ours.wanted) else "")
