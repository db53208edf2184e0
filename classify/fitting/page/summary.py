"""The page's first and last words: how good the classifier is, whether training paid, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from matplotlib.figure import Figure

from reporting.plots.style import look, styled

from .html import bar, number, paragraph, plot, table
from .load import Fit


def section(fit: Fit) -> Iterator[str]:
    """Yield the summary: its sentences, the table of methods, and what was done with what."""
    content = fit.content
    chosen = next(result for result in content["results"] if result["chosen"])
    name = chosen["label"]
    yield paragraph(
        f"{name[0].upper()}{name[1:]} is right on {chosen['accuracy']:.1f}% of images that it has not seen "
        f"(95% interval {chosen['low']:.1f} to {chosen['high']:.1f}).",
        "lead",
    )
    yield paragraph(content["paid"], "lead")
    error = content["calibration"]
    yield paragraph(
        f"On average its confidence is {error['ece_after']:.1f} points away from how often it is right "
        f"({error['ece_before']:.1f} before calibration).",
        "lead",
    )
    headers = "Method", "Accuracy", "95% interval", "0 to 100", "Macro-F1", "ECE", "NLL", "Time"
    yield table(headers, [_method(result) for result in content["results"]], "Methods on the same images, in percent")
    yield (
        '<p class="notes">Macro-F1: the mean over classes of F1, in which small classes count as much as large ones. '
        "ECE: how far confidence is from accuracy on average, before calibration. NLL: the lower, the more probability "
        "went to the true classes.</p>"
    )
    yield paragraph(f"Measured by {content['measurement']['text']}.")
    yield paragraph(content["why"])
    yield _facts(content)


def _method(result: dict[str, Any]) -> list[str]:
    label = escape(result["label"])
    return [
        f"<strong>{label}</strong> (chosen)" if result["chosen"] else label,
        number(result["accuracy"]),
        f"{result['low']:.1f} to {result['high']:.1f}",
        bar(result["low"], result["high"], result["accuracy"], "thin"),
        number(result["macro_f1"]),
        number(result["ece"]),
        number(result["nll"], 3),
        seconds(result["seconds"]),
    ]


def _facts(content: dict[str, Any]) -> str:
    fewest, most = min(content["class_images"]), max(content["class_images"])
    each = str(most) if fewest == most else f"{fewest} to {most}"
    facts = {
        "Images": f"{content['images']} in {len(content['classes'])} classes, {each} in each",
        "Folder": content["folder"],
        "Method": f"{content['method']} on {content['backbone']}, shots: {content['shots']}",
        "Device": content["device"],
        "Time": seconds(content["seconds"]),
    }
    lines = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<dl>{lines}</dl>"


def seconds(value: float) -> str:
    """Return a time in the unit that reads best."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 3600 else f"{value / 3600:.1f} h"


def learning_curve(fit: Fit) -> Iterator[str]:
    """Yield accuracy over the number of images per class, where `fit` measured it."""
    rows = fit.content["learning_curve"]
    if rows:
        drawn = plot("Accuracy over images per class, with 95% intervals", _curve(rows))
        yield f'<div class="plots">{drawn}</div>'
        cells = [[str(row["shots"]), number(row["accuracy"]), f"{row['low']:.1f} to {row['high']:.1f}"] for row in rows]
        yield table(("Images per class", "Accuracy", "95% interval"), cells, "Accuracy by images per class, in percent")


@styled
def _curve(rows: list[dict[str, Any]]) -> Figure:
    drawn = Figure(figsize=(4, 3))
    axes = drawn.subplots()
    axes.set(xlabel="images per class for training", ylabel="accuracy, %")
    shots, values = ([row[key] for row in rows] for key in ("shots", "accuracy"))
    below, above = ([abs(row[key] - row["accuracy"]) for row in rows] for key in ("low", "high"))
    axes.errorbar(shots, values, [below, above], capsize=3, **look(0))
    axes.set_xscale("log", base=2)
    axes.set_xticks(shots, [str(count) for count in shots])
    axes.minorticks_off()
    return drawn


def what_next(fit: Fit) -> Iterator[str]:
    """Yield what the final model is, and commands to use it."""
    yield paragraph(fit.content["final"]["text"])
    yield from (f"<pre>{escape(command)}</pre>" for command in fit.content["next"])
