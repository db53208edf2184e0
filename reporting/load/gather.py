"""Everything that lies under output folders: results, what is unfinished, what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reporting.load import logs, records
from reporting.load.result import Key, Result
from runs.record import RECORD, DamagedRecord

FIT_PLAN = "plan.json"  # in the folder of a fit


@dataclass
class Gathered:
    """What was found, each run once.

    Attributes:
        unfinished: folder of a run that has a record and no result -> why.
        expected: cells of unfinished runs.
        damaged: a line for each file that was skipped because it cannot be read.
        notes: a line for each run that was left out for another reason.
    """

    results: list[Result] = field(default_factory=list)
    unfinished: dict[Path, str] = field(default_factory=dict)
    expected: list[Key] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def summary(self, left_out: int = 0) -> str:
        """Return how many runs were read and skipped, in one line; `left_out`: how many more no table has."""
        read = sum(not result.key.row.foreign for result in self.results)
        return (
            f"Read {read} records and {len(self.results) - read} logs of other repositories; {len(self.unfinished)} "
            f"runs unfinished, {len(self.damaged)} files damaged and skipped, {len(self.notes) + left_out} left out"
        )


def gather(outputs: Sequence[Path]) -> Gathered:
    """Read all runs under `outputs` but those that `fit` made: folds of one's own images, for its own page.

    Raises:
        FileNotFoundError: one of them is no folder, or there is no run in any of them.
    """
    found = Gathered()
    fits = sorted({plan.parent for output in outputs for plan in output.rglob(FIT_PLAN)})
    found.notes += [f"{fit} was made by `fit`: its index.html shows its runs" for fit in fits]
    places = [path for path in _places(outputs) if not set(fits) & set(path.parents)]
    if not places:
        names = ", ".join(map(str, outputs))
        raise FileNotFoundError("; ".join([f"there is no run in {names}: no {RECORD} and no log.txt", *found.notes]))
    seen: dict[str, Path] = {}
    for path in places:
        result = _read(path, found)
        if result is None:
            continue
        run_id = result.record.get("run_id")
        if run_id in seen:
            found.notes.append(f"{path.parent} is a copy of the run in {seen[run_id]}, and counts once")
            continue
        if run_id:
            seen[run_id] = path.parent
        found.results.append(result)
    return found


def _read(path: Path, found: Gathered) -> Result | None:
    try:
        return records.read_result(path.parent) if path.name == RECORD else logs.read_result(path)
    except (DamagedRecord, logs.DamagedLog) as error:
        found.damaged.append(str(error))
    except records.Unfinished as error:
        found.unfinished[path.parent] = str(error)
        found.expected.append(error.key)
    except records.NoResult as error:
        found.notes.append(str(error))
    return None


def _places(outputs: Iterable[Path]) -> Iterable[Path]:
    """Yield records, and logs in folders that hold none; each once, in order."""
    known: set[Path] = set()
    for output in outputs:
        if not output.is_dir():
            raise FileNotFoundError(f"there is no folder {output}")
        for path in sorted([*output.rglob(RECORD), *output.rglob("log.txt")]):
            own = path.name == "log.txt" and _belongs_to_record(path.parent, output)
            if not own and path.resolve() not in known:
                known.add(path.resolve())
                yield path


def _belongs_to_record(folder: Path, output: Path) -> bool:
    """Return whether the folder or one above it, up to `output`, has a record: a stage of a run keeps its own log."""
    while True:
        if (folder / RECORD).exists():
            return True
        if folder in (output, folder.parent):
            return False
        folder = folder.parent
