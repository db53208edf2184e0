"""Tables of how far confidence can be trusted, of the scores that runs saved: calibration errors and rejection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reporting import calibration
from reporting.cells import Cells
from reporting.load.result import Key, Result
from reporting.load.scores import Confidence
from reporting.names import AVERAGE, block_name, dataset_order, with_average
from reporting.stats import Cell, average
from reporting.tables.base_to_new import datasets_of, rows_of
from reporting.tables.table import Entry, Table, count_in_a_note, slug
from runs.protocols import PROTOCOLS, SHOTS, parts_of

# Header and name in `calibration.summary`.
MEASURES = {
    "ECE": "ece",
    "Adaptive ECE": "adaptive_ece",
    "Classwise ECE": "classwise_ece",
    "NLL": "nll",
    "Brier": "brier",
    "AURC": "aurc",
    **{f"Acc at {kept} %": f"accuracy_at_{kept}" for kept in calibration.COVERAGES},
}
LOWER = list(MEASURES)[:6]
DECIMALS = {"NLL": 3, "Brier": 3, "AURC": 4}
NOTES = (
    f"Of runs' own probabilities, no temperature fitted. ECEs are in percent, of {calibration.BINS} bins (adaptive: "
    "of equal mass; classwise: mean over classes). Brier is from 0 to 2.",
    "AURC, from 0 to 1, is the mean error rate over all parts of the most confident images; Acc at 80 % is the "
    "accuracy where the 20 % least confident are rejected.",
)
HOW = "TEST.SAVE_SCORES True, after -- of grid and scripts, saves them (a run that is done: in another folder)"


def groups(cells: Cells, keys: Sequence[Key], found: Confidence) -> Iterator[tuple[str, str, list[Key]]]:
    """Yield the keys with saved scores that make a table: its title's beginning, its file's name, and the keys."""
    known = [key for key in keys if any(result.path in found.measures for result in cells.results(key))]
    order = {protocol: place for place, protocol in enumerate(PROTOCOLS)}
    tables: dict[tuple[str, str, str, int], list[Key]] = {}
    for key in sorted(known, key=lambda key: (order[key.protocol], key.backbone, dataset_order(key.source), key.shots)):
        source = key.source if key.protocol == "xd" else ""
        tables.setdefault((key.protocol, key.backbone, source, key.shots), []).append(key)
    for (protocol, backbone, source, shots), some in tables.items():
        title = f"{protocol}{f', trained on {source}' if source else ''}, {shots} shots, {backbone}"
        yield title, slug("confidence", protocol, source, backbone, f"{shots}_shots" * (shots != SHOTS)), some


def confidence(cells: Cells, keys: Sequence[Key], found: Confidence) -> Iterator[Table]:
    """Yield a table for each protocol, backbone and number of shots, base and new classes apart."""
    for title, name, some in groups(cells, keys, found):
        parts = parts_of(some[0].protocol)
        labels = ["Data set", "Classes", "Method"] if len(parts) > 1 else ["Data set", "Method"]
        rows: list[list[Entry]] = []
        for part in parts:
            rows += _rows(cells, [key for key in some if key.part == part], found, [part] * (len(parts) > 1))
        table = Table(name, f"Confidence: {title}", [*labels, "n", *MEASURES], rows, len(labels), list(NOTES))
        table.decimals, table.lower = DECIMALS, LOWER
        yield count_in_a_note(table)


def _rows(cells: Cells, keys: Sequence[Key], found: Confidence, part: list[str]) -> Iterator[list[Entry]]:
    names = datasets_of(keys)
    by_row = {row: {key.dataset: key for key in keys if key.row == row} for row in rows_of(keys)}
    for name in with_average(names):
        for row, mine in by_row.items():
            some = [mine.get(one) for one in (names if name == AVERAGE else [name])]
            if any(some):
                shown = [_cell(cells, some, found, what) for what in MEASURES.values()]
                yield [block_name(name, names), *part, row.label, str(len(shown[0].values)), *shown]


def _cell(cells: Cells, keys: Sequence[Key | None], found: Confidence, what: str) -> Cell:
    """Return a cell over seeds, of several keys their average; None stands for a key without any scores."""

    def measure(result: Result) -> float | None:
        return found.measures.get(result.path, {}).get(what)

    made = [cells.over_seeds(key, measure) if key else Cell(wanted=cells.seeds) for key in keys]
    return average(made) if len(made) > 1 else made[0]


def note(results: Sequence[Result], found: Confidence) -> list[str]:
    """Return a line on runs whose confidence is not known, as they saved no scores; none where all have."""
    ours = [result for result in results if result.record]
    lacking = sum(result.path not in found.measures for result in ours)
    if not lacking:
        return []
    which = "No run here has" if lacking == len(ours) else f"{lacking} of {len(ours)} runs have not"
    return [f"Confidence (calibration, rejection): {which} saved scores. {HOW}."]
