"""Training curves: the loss of each epoch, from `log.txt` or else from TensorBoard's files."""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reporting.cells import Cells
from reporting.load.result import Key, Result, Row
from reporting.names import dataset_order
from reporting.plots.style import Plot, legend_below, look, styled
from reporting.sweeps import is_ablation
from reporting.tables.base_to_new import rows_of
from reporting.tables.table import slug
from runs.protocols import parts_of

# `epoch [2/10] batch [20/24] ... loss 0.9 (1.2) ...`; older Dassl: `epoch [2/10][20/24] ... loss 0.9 (1.2) ...`.
# A line for the whole epoch: `epoch [2/10] loss 1.2 acc ...`.
_LINE = re.compile(r"^epoch \[(\d+)/\d+\](?:.*?\bloss(?:_x)?:? \S+ \((\S+?)\)| loss(?:_x)? (\S+) )")
Losses = dict[int, float]  # by epoch, from 1


def losses_of_log(path: Path) -> Losses:
    """Return the mean loss of each epoch, which its last line has in brackets. Empty without such lines."""
    found: Losses = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            match = _LINE.match(line)
            if match:
                try:
                    loss = float(match[2] or match[3])
                except ValueError:  # a line that a kill cut short
                    continue
                if math.isfinite(loss):
                    found[int(match[1])] = loss
    return found


def losses_of_events(folder: Path) -> Losses:
    """Return the losses in TensorBoard's files, whose `train/loss` is the mean since the epoch began, by step."""
    if not folder.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    if "train/loss" not in events.Tags()["scalars"]:
        return {}
    points = {event.step: event.value for event in events.Scalars("train/loss")}
    return dict(enumerate((points[step] for step in sorted(points)), start=1))


def losses(result: Result) -> tuple[str, Losses]:
    """Return what the horizontal axis is (epoch or step), and the losses of a run; empty where it left none."""
    folder = result.path if result.record else result.path.parent
    found = losses_of_log(folder / "log.txt" if result.record else result.path)
    return ("epoch", found) if found else ("step", losses_of_events(folder / "tensorboard"))


def training_plots(cells: Cells, keys: Sequence[Key]) -> Iterator[Plot]:
    """Yield the losses of training runs by protocol, data set and backbone, at the largest number of shots."""
    groups: dict[tuple[str, str, str], list[Key]] = defaultdict(list)
    for key in keys:
        if key.part == parts_of(key.protocol)[0] and key.dataset == key.source and not is_ablation(key):
            groups[key.protocol, key.backbone, key.dataset].append(key)
    for protocol, backbone, name in sorted(groups, key=lambda g: (g[0], g[1], dataset_order(g[2]))):
        some = groups[protocol, backbone, name]
        shots = max(key.shots for key in some)
        axis, found = _by_row(cells, [key for key in some if key.shots == shots])
        if found:
            title = f"Training loss, {protocol}, {name}, {shots} shots, {backbone}"
            file = slug("training", protocol, backbone, name)
            yield Plot(file, title, training_figure(found, axis, f"{name}, {shots} shots"))


def _by_row(cells: Cells, keys: Sequence[Key]) -> tuple[str, dict[Row, dict[int, Losses]]]:
    """Return losses by row and seed, and their axis. Epochs and steps do not mix: epochs go first."""
    kinds: dict[str, dict[Row, dict[int, Losses]]] = {"epoch": {}, "step": {}}
    for row in rows_of(keys):
        for key in (key for key in keys if key.row == row):
            for result in cells.results(key):
                kind, found = losses(result)
                if found:
                    kinds[kind].setdefault(row, {})[result.seed] = found
    kind = "epoch" if kinds["epoch"] else "step"
    return kind, kinds[kind]


@styled
def training_figure(found: Mapping[Row, Mapping[int, Losses]], label: str, title: str) -> Figure:
    """Draw the mean over seeds as a line, their range as a band; losses of different methods do not compare."""
    figure = Figure(figsize=(5, 3.6 + 0.2 * (len(found) // 3)))
    axis = figure.subplots()
    for place, (row, by_seed) in enumerate(found.items()):
        x = sorted(set.union(*({*losses} for losses in by_seed.values())))
        there = [[losses[epoch] for losses in by_seed.values() if epoch in losses] for epoch in x]
        style = {**look(place), "markersize": 4 if len(x) <= 20 else 0}
        axis.plot(x, [statistics.mean(values) for values in there], label=row.label, **style)
        axis.fill_between(
            x, list(map(min, there)), list(map(max, there)), color=style["color"], alpha=0.15, linewidth=0
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(title=title, xlabel=label, ylabel="loss of the epoch" if label == "epoch" else "loss")
    legend_below(figure)
    return figure
