"""What runs cost (the paper's Table 6), and where every number comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dassl.busy import BUSY
from reporting.cells import Cells
from reporting.likeness import cautions
from reporting.load.result import Key, Result, Row
from reporting.names import PAPER_BACKBONE, dataset_order
from reporting.paper import costs as published_costs
from reporting.stats import Cell, Triple
from reporting.sweeps import COST_ONLY, is_ablation, triple
from reporting.tables.base_to_new import groups
from reporting.tables.table import Entry, Table, count_in_a_note, drop_empty, of_shots, slug

Record = Mapping[str, Any]
# Header and what it is in a record of a training run; None where the record does not have it.
MEASURES: dict[str, Callable[[Record], float | None]] = {
    "Learned values (M)": lambda r: None if r.get("learned_parameters") is None else r["learned_parameters"] / 1e6,
    "ms per training image": lambda r: r.get("ms_per_training_image"),
    "Test images/s": lambda r: r.get("test_images_per_second"),
    "Peak memory (GiB)": lambda r: r["peak_memory"]["bytes"] / 2**30 if r.get("peak_memory") else None,
}
# Measures that are times, and the entry of a record's `waited` that is of the time they were taken in.
TIMED = {"ms per training image": "training", "Test images/s": "last_test"}
PUBLISHED = {
    "Published values (M)": "params_millions",
    "Published ms": "train_ms_per_image",
    "Published images/s": "fps_bs100",
    "Published HM (average)": "hm",
}
LOWER = ("Learned values (M)", "ms per training image", "Peak memory (GiB)")
DECIMALS = {"Learned values (M)": 3, "Published values (M)": 3, "Test images/s": 1, "Published images/s": 1}


@dataclass(frozen=True)
class Cost:
    """What a row's training runs cost on one data set and one device, and the accuracy that they reached.

    Attributes:
        measures: by name in MEASURES.
        busy: by name in TIMED, how many times are left out because other programs had the processors meanwhile.
        unknown: how many runs have a record that does not tell: their times count.
    """

    key: Key
    device: str
    measures: dict[str, Cell]
    accuracy: Triple
    busy: dict[str, int]
    unknown: int


def costs(cells: Cells, keys: Sequence[Key], of_ablations: bool = False) -> Iterator[list[Cost]]:
    """Yield the costs of base-to-new training runs by backbone and shots; different devices are never averaged.

    Rows of ablations are apart, but for those that Table 6 has: they change the test's batch size too.
    """
    for _, every in groups(keys, "base2new"):
        some = [key for key in every if key.part == "base" and not key.row.foreign]
        some = [key for key in some if (is_ablation(key) and COST_ONLY.isdisjoint(key.row.changes)) == of_ablations]
        for shots in sorted({key.shots for key in some}):
            wanted = [key for key in some if key.shots == shots]
            wanted.sort(key=lambda key: dataset_order(key.dataset))
            found = [cost for key in wanted for cost in _costs_of(cells, key)]
            if found:
                yield found


def _costs_of(cells: Cells, key: Key) -> Iterator[Cost]:
    if cells.get(key).refused:
        return
    trained = [result for result in cells.results(key) if result.record.get("mode") == "train"]
    for device in sorted({str(result.record.get("device")) for result in trained}):
        here = [result for result in trained if str(result.record.get("device")) == device]
        measures = {header: _over_seeds(here, header, cells.seeds) for header in MEASURES}
        counted = [result.record for result in here if result.seed in cells.seeds]
        busy = {header: sum(was_busy(record, header) is True for record in counted) for header in TIMED}
        unknown = sum(any(was_busy(record, header) is None for header in TIMED) for record in counted)
        yield Cost(key, device, measures, triple(cells, key), busy, unknown)


def was_busy(record: Record, header: str) -> bool | None:
    """Return whether other programs had the processors while a time was taken; None where the record does not tell.

    False where the record has no such time.
    """
    part = (record.get("waited") or {}).get(TIMED[header])
    if MEASURES[header](record) is None:
        return False
    return None if part is None else part > BUSY


def _over_seeds(results: Sequence[Result], header: str, seeds: tuple[int, ...]) -> Cell:
    idle = [result for result in results if header not in TIMED or not was_busy(result.record, header)]
    values = {result.seed: MEASURES[header](result.record) for result in idle}
    return Cell.over_seeds({seed: value for seed, value in values.items() if value is not None}, seeds)


def cost_tables(cells: Cells, keys: Sequence[Key], paper: bool) -> Iterator[Table]:
    """Yield a table for each backbone and number of shots, and one of its ablations."""
    for of_ablations in (False, True):
        for some in costs(cells, keys, of_ablations):
            yield _cost_table(some, paper, "Ablations: cost" if of_ablations else "Cost")


def _cost_table(some: Sequence[Cost], paper: bool, what: str) -> Table:
    backbone, shots = some[0].key.backbone, some[0].key.shots
    headers = ["Data set", "Method", "Device", "n", *MEASURES, "HM", *(PUBLISHED if paper else ())]
    headers, lines = drop_empty(headers, [_line(cost, paper) for cost in some], keep=4)
    title = f"{what} of training and testing, base to new, {shots} shots, {backbone}"
    notes = ["Times are those of the runs as they ran: runs side by side, and resumed ones, are slower or partial."]
    notes += ["Images per second include loading.", *_notes_on_busy(some)]
    if paper and any(header in PUBLISHED for header in headers):
        notes.append("Published costs are ImageNet's, on the authors' GPU; the published HM is the 11-set average.")
    name = slug(*what.replace(":", "").split(), backbone, of_shots(shots))
    return count_in_a_note(Table(name, title, headers, lines, 3, notes, DECIMALS, LOWER, names=1))


def _notes_on_busy(some: Sequence[Cost]) -> list[str]:
    counts = {header: sum(cost.busy[header] for cost in some) for header in TIMED}
    notes = [
        f"{header}: {count} {'run is' if count == 1 else 'runs are'} left out, which for more than {BUSY:.0%} of that "
        "time waited for processors that other programs had."
        for header, count in counts.items()
        if count
    ]
    unknown = sum(cost.unknown for cost in some)
    if unknown:
        whose = "1 run does" if unknown == 1 else f"{unknown} runs do"
        notes.append(f"{whose} not tell whether the machine was busy (older, or not on Linux): the times count.")
    return notes


def _line(cost: Cost, paper: bool) -> list[Entry]:
    key, count = cost.key, max(len(cell.values) for cell in cost.measures.values())
    cells: list[Entry] = [
        cell if cell.center is not None else None for cell in (*cost.measures.values(), cost.accuracy.hm)
    ]
    line: list[Entry] = [key.dataset, key.row.label, cost.device, str(count), *cells]
    if paper:
        found = published_costs().get(_row_of_table_6(key.row), {}) if key.backbone == PAPER_BACKBONE else {}
        at_home = key.dataset == "imagenet"
        line += [float(found[column]) if found and at_home else None for column in PUBLISHED.values()]
    return line


def _row_of_table_6(row: Row) -> Row:
    """Return a row without what changes its cost alone: Table 6 is measured with test batches of 100."""
    changes = [f"+{short}={value}" for short, value in row.changes.items() if short not in COST_ONLY]
    return Row(row.method, "".join(changes))


def runs_table(results: Sequence[Result]) -> Table:
    """Return every run behind the report: where it lies, what it gave, and with what it was made."""
    headers = ["Folder", "Method", "Protocol", "Trained on", "Tested on", "Classes", "Shots", "Seed", "Accuracy"]
    headers += ["Backbone", "Device", "Commit", "Configuration", "torch", "Finished", "Notes"]
    lines: list[list[Entry]] = []
    for result in results:
        key, record = result.key, result.record
        commit = record.get("commit") or {}
        made = f"{commit.get('id', '')[:10]}{' and changes' if commit.get('dirty') else ''}"
        lines.append(
            [str(result.path), key.row.label, key.protocol, key.source, key.dataset, key.part, str(key.shots)]
            + [str(result.seed), result.accuracy, key.backbone, record.get("device"), made]
            + [record.get("config_hash", "")[:12], record.get("versions", {}).get("torch"), record.get("finished")]
            + ["; ".join(cautions(record))]
        )
    headers, lines = drop_empty(headers, lines, keep=len(headers) - 1)
    return Table("runs", "The runs behind these tables", headers, lines, 1)
