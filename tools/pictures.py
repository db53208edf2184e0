"""Make the pictures of README.md in docs/pictures/, from the embedded CLIP and Digits: a demonstration.

    python tools/pictures.py        # about half an hour on 2 cores; finished runs are not done again

fit.png shows what `fit` measures on all the digits, few_shot.png is a plot of the report on few-shot runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mmrl  # noqa: E402
from classify.fitting.page.images import most_wrong  # noqa: E402
from classify.fitting.page.load import Fit, load  # noqa: E402
from classify.fitting.program import default_out  # noqa: E402
from common.files import write_bytes  # noqa: E402
from reporting.plots.style import COLOURS, image, styled  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
SHOTS, SEEDS = ("1", "4", "16"), ("1", "2", "3")
METHODS = ("ZeroshotCLIP", "TipAdapter", "LinearProbe", "MMRL")
DATA, MADE = "data", Path("output/pictures")
WRONG = 12  # images shown
LABEL = "Demonstration: a small CLIP on handwritten digits of 8 x 8 pixels"


@styled
def fit_figure(fit: Fit) -> Figure:
    """Draw the methods' accuracies, the confusion matrix and the most wrong images of a fit."""
    figure = Figure(figsize=(11, 3.9))
    figure.suptitle(LABEL, fontsize=10)
    bars, matrix, wrong = figure.subfigures(1, 3, width_ratios=(3.2, 3.4, 4), squeeze=False).flat
    accuracies(bars.subplots(), fit)
    confusion(matrix.subplots(), fit)
    wrong.suptitle("Most wrong: predicted (true)", fontsize=9)
    for axis, one in zip(wrong.subplots(3, WRONG // 3).flat, most_wrong(fit, WRONG), strict=False):
        axis.imshow(Image.open(Path(fit.content["folder"], one.path)), cmap="gray")
        axis.set_title(f"{one.predicted} ({one.true})", fontsize=7)
    for axis in wrong.axes:
        axis.axis("off")
    return figure


def accuracies(axis: Axes, fit: Fit) -> None:
    """Draw a bar with its 95% interval for each method; the chosen one is dark."""
    rows = sorted(fit.content["results"], key=lambda row: row["accuracy"])
    values = np.array([[row["accuracy"], row["low"], row["high"]] for row in rows]).T
    shades = [COLOURS[0] if row["chosen"] else COLOURS[5] for row in rows]
    ends = np.abs(values[1:] - values[0])
    axis.barh([row["label"] for row in rows], values[0], xerr=ends, color=shades, capsize=3)
    for place, value in enumerate(values[0]):
        axis.text(3, place, f"{value:.1f}", va="center", color="white", fontweight="bold")
    axis.set(title=f"{fit.content['images']:,} images, 5-fold", xlabel="accuracy, % (95% interval)", xlim=(0, 100))
    axis.grid(visible=False, axis="y")


def confusion(axis: Axes, fit: Fit) -> None:
    """Draw the confusion matrix with its counts; each row is shaded by its share."""
    counts, names = np.array(fit.content["confusion"]), fit.content["classes"]
    shares = counts / counts.sum(axis=1, keepdims=True)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            white = shares[true, predicted] > 0.5
            axis.text(predicted, true, count, ha="center", va="center", fontsize=7, color="white" if white else "black")
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set(title="true (row) and predicted", xlabel="")
    axis.grid(visible=False)


def run(*words: str) -> None:
    """Carry out a command of mmrl.py, and end with its status where it fails."""
    print("python mmrl.py", *words, flush=True)
    if status := mmrl.main(list(words)):
        sys.exit(status)


def main() -> None:
    """Make the runs that are missing, and both pictures."""
    for folder in (Path(DATA), PICTURES):
        folder.mkdir(exist_ok=True)
    runs, report, fitted = str(MADE / "runs"), str(MADE / "report"), Path(default_out("images"))
    which = ("--methods", *METHODS, "--shots", *SHOTS, "--seeds", *SEEDS)
    run("grid", "fewshot", "--datasets", "digits", *which, "--root", DATA, "--output", runs)
    run("report", runs, "--out", report)
    run("fit", f"{DATA}/digits/images", "--backbone", "embedded")
    plot = Path(report, "plots", "few_shot_embedded_digits.png")
    for name, content in (("few_shot", plot.read_bytes()), ("fit", image(fit_figure(load(fitted)), "png"))):
        write_bytes(PICTURES / f"{name}.png", content)
        print(f"{PICTURES / name}.png: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
