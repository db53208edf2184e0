"""An inspection as files in a folder, and as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from common.files import write_json, write_text
from common.text import as_csv
from reporting.plots.reliability import reliability

from . import class_plots, measure, plots, project
from .measure import Row
from .observe import Observed

SHOWN_ROWS = 20  # of a long table, on the terminal
SHOWN_PAIRS = 10


def everything(found: Observed, about: Row, folder: Path, points: int) -> tuple[Row, list[str]]:
    """Write ``inspect.json``, the tables as CSV and the plots; returns the JSON's content and the files' names."""
    tables = {
        "per_class": measure.per_class(found),
        "confusions": measure.confusions(found),
        "alpha": measure.alphas(found),
        "cosines": measure.cosines(found),
        "reliability": measure.reliability(found),
    }
    folder.mkdir(parents=True, exist_ok=True)
    content: Row = {
        "run": about,
        "summary": measure.summary(found),
        "confidence": measure.confidence(found),
        **tables,
        "notes": found.notes,
    }
    names = []
    for name, rows in tables.items():
        if rows:
            write_csv(folder / f"{name}.csv", rows)
            names.append(f"{name}.csv")
    title = f"{about['method']}, {about['dataset']}, {about['split']}"
    names += plots.save(class_plots.confusion_matrix(found, title), folder, "confusion_matrix")
    names += plots.save(reliability(tables["reliability"], title), folder, "reliability")
    if "gain" not in found.notes:
        names += plots.save(class_plots.gains(tables["per_class"], title), folder, "gain")
    if found.alpha is not None:
        names += plots.save(plots.alpha_curve(tables["alpha"], found.alpha, title), folder, "alpha")
    names += features(found, about, folder, points)
    write_json(folder / "inspect.json", content)
    return content, [*names, "inspect.json"]


def features(found: Observed, about: Row, folder: Path, points: int) -> list[str]:
    """Write plots of the images' features by PCA and t-SNE, and ``features.csv`` with what they show."""
    chosen = project.choose(found, points)
    what = f"{about['method']}, {about['dataset']}, {about['split']}: {len(chosen.images)} of {len(found.true)} images"
    if len(chosen.classes) < len(set(found.true)):
        what += f", the {len(chosen.classes)} classes with the most errors"
    columns: dict[str, Any] = {
        "image": [found.paths[i] for i in chosen.images],
        "class": [found.classes[found.true[i]] for i in chosen.images],
        "predicted": [found.classes[found.predicted[i]] for i in chosen.images],
    }
    flat: dict[str, dict[str, np.ndarray]] = {"PCA": {}, "t-SNE": {}}
    axes: dict[str, dict[str, tuple[str, str]]] = {"PCA": {}, "t-SNE": {}}
    for name, values in found.images.items():
        flat["PCA"][name], shares = project.pca(values[chosen.images])
        axes["PCA"][name] = (f"component 1 ({shares[0]:.0f}% of variance)", f"component 2 ({shares[1]:.0f}%)")
        points_2d = project.tsne(values[chosen.images])
        if points_2d is not None:
            flat["t-SNE"][name], axes["t-SNE"][name] = points_2d, ("", "")
    names = []
    for how, panels in flat.items():
        if not panels:
            found.notes["t-SNE"] = "there are too few images for t-SNE"
            continue
        figure = plots.scatter(found, chosen, panels, axes[how], f"{how} of image features\n{what}")
        names += plots.save(figure, folder, f"features_{how.lower().replace('-', '')}")
        for name, points_2d in panels.items():
            for axis, values in zip("xy", points_2d.T, strict=True):
                columns[f"{how} {axis}: {name}"] = [float(value) for value in values]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_csv(folder / "features.csv", rows)
    return [*names, "features.csv"]


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows with equal keys as CSV, atomically; None is an empty cell."""
    write_text(path, as_csv([rows[0], *(row.values() for row in rows)]))


def text(content: Row) -> str:
    """Return what the terminal shows: summary, classes (the worst of many), confusions, alpha, cosines, and notes."""
    run, facts, notes = content["run"], content["summary"], content["notes"]
    parts = [
        f"{run['method']} on {run['dataset']} ({run['split']}): {facts['images']} images, {facts['classes']} classes\n"
        f"accuracy {facts['accuracy']:.2f}%, zero-shot CLIP {facts['zero_shot_accuracy']:.2f}%"
    ]
    parts.append(_table("Confidence (ECE in percent)", [content["confidence"]], digits=3))
    rows = content["per_class"]
    worst = sorted((row for row in rows if row["images"]), key=lambda row: row["accuracy"])[:SHOWN_ROWS]
    head = f"The {SHOWN_ROWS} worst classes" if len(rows) > SHOWN_ROWS else "Classes"
    parts.append(_table(f"{head}, %", worst if len(rows) > SHOWN_ROWS else rows))
    if content["confusions"]:
        parts.append(_table("Most confused pairs", content["confusions"][:SHOWN_PAIRS]))
    if content["alpha"]:
        every = [row for row in content["alpha"] if round(20 * row["alpha"]) % 2 == 0]
        own = content["summary"]["alpha"]
        parts.append(_table(f"Alpha at test time (1: class feature alone; the run's scores: {own:g})", every, digits=2))
    parts.append(_cosines(content["cosines"]))
    parts += [f"note: {note}" for note in notes.values()]
    return "\n\n".join(part for part in parts if part)


def _cosines(rows: list[Row]) -> str:
    """Return a table of the mean and lowest cosine of each column."""
    lines = []
    for column in [key for key in rows[0] if key != "class"]:
        values = [(row[column], row["class"]) for row in rows if row[column] is not None]
        if values:
            low = min(values)
            mean = sum(value for value, _ in values) / len(values)
            lines.append({"of": column, "mean": mean, "lowest": low[0], "class of the lowest": low[1]})
    return _table("Cosine with frozen CLIP's", lines, digits=4) if lines else ""


def _table(title: str, rows: list[Row], digits: int = 1) -> str:
    return f"{title}\n{tabulate(rows, headers='keys', floatfmt=f'.{digits}f', missingval='-')}"
