"""What a fit says of itself: before it starts, in its files, and at the end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from common.files import write_json
from reporting.sweeps import as_number
from runs import record
from runs.options import pairs
from trainers.shared.lists import counted

from .plan import Job, Planner, duration

if TYPE_CHECKING:
    from .measure import Measured

RESULT, PREDICTIONS, CALIBRATION, PAGE = "fit.json", "predictions.csv", "calibration.json", "index.html"
LABELS = {"ZeroshotCLIP": "zero-shot CLIP", "LinearProbe": "linear probe", "TipAdapter": "Tip-Adapter"}
Found = Mapping[tuple[str, int | None], "Measured"]  # by method and shots of the learning curve


def introduce(plan: Mapping[str, Any], planner: Planner, jobs: Sequence[Job]) -> None:
    """Print what will be done, and how long it takes."""
    images, request = planner.images, planner.request
    each = f"{min(images.counts)} to {max(images.counts)} of each"
    print(f"{counted(len(images.all), 'image')}, {counted(len(images.classes), 'class')} ({each}) in {images.folder}")
    print(f"Device: {plan['device']}, CLIP: {request.backbone}")
    print(f"Method: {plan['method']} ({plan['why']})")
    print(f"Measured by: {measurement(planner)}")
    if 1 < planner.folds < request.folds:
        print(f"note: {planner.folds} folds instead of {request.folds}, as a class has no more images")
    print(f"{len(jobs)} runs, about {duration(sum(job.seconds for job in jobs))}; {request.out}", flush=True)


def measurement(planner: Planner) -> str:
    """Return how accuracies are measured, in a sentence."""
    images, repeats = planner.images, planner.request.repeats
    again = f", repeated with {repeats} seeds" if repeats > 1 else ""
    if planner.folds == 1:
        part = "test" if "test" in images.given else "val"
        number = counted(len(images.given[part]), "image")
        return f"the {part} part of your split ({number}), predicted by a model trained on the others{again}"
    share = round(100 * (planner.folds - 1) / planner.folds)
    return (
        f"{planner.folds}-fold cross-validation, stratified by class: each image is predicted once by a model that "
        f"has not seen it, trained on {share}% of the images{again}"
    )


def write(plan: Mapping[str, Any], planner: Planner, found: Found, last: Job) -> None:
    """Write `predictions.csv`, `calibration.json` (in the model's folder too), `fit.json` and the page."""
    from classify.fitting import page

    from .measure import calibrate, write_predictions

    out, best = Path(planner.request.out), found[plan["method"], None]
    facts, calibration = calibrate(best, measurement(planner))
    write_predictions(out / PREDICTIONS, best, planner.images.classes, facts["temperature"])
    write_json(out / CALIBRATION, facts)
    write_json(out / last.name / CALIBRATION, facts)
    write_json(out / RESULT, result(plan, planner, found, last) | {"calibration": calibration})
    page.write(out)


def result(plan: Mapping[str, Any], planner: Planner, found: Found, last: Job) -> dict[str, Any]:
    """Return the content of `fit.json`, but for the calibration."""
    images, request, method = planner.images, planner.request, plan["method"]
    best, zero = found[method, None], found["ZeroshotCLIP", None]
    classes, counts = images.classes, images.counts
    return {
        "version": 1,
        "title": Path(images.folder).name,
        "folder": images.folder,
        "classes": classes,
        "class_images": counts,
        "images": len(images.all),
        "method": method,
        "backbone": request.backbone,
        "device": plan["device"],
        "shots": request.shots or "all",
        "why": f"{method}: {plan['why']}.",
        "measurement": {"folds": planner.folds, "repeats": request.repeats, "text": measurement(planner)},
        "results": [
            {"method": one, "label": LABELS.get(one, one), "chosen": one == method, **measured.row()}
            for (one, shots), measured in found.items()
            if shots is None
        ],
        "per_class": [
            {"class": name, "images": count, "accuracy": best.of_class(i), "zero_shot_accuracy": zero.of_class(i)}
            for i, (name, count) in enumerate(zip(classes, counts, strict=True))
        ],
        "confusion": best.confusion(len(classes)),
        "learning_curve": [{"shots": n, **found[method, n].accuracy()} for n in request.curve] or None,
        "prompts": prompts(method, request.template, classes),
        "final": final(planner, best, last),
        "paid": " ".join(filter(None, [paid(method, best, zero), better(method, found)])),
        "next": next_commands(planner, best.jobs[0], last),
        "seconds": sum(measured.seconds for measured in found.values())
        + (record.read(Path(request.out, last.name)) or {})["wall_seconds"],
    }


def prompts(method: str, template: str, classes: Sequence[str]) -> dict[str, Any]:
    """Return the classes' prompts, and what the method makes of them."""
    from trainers.shared.templates import fill

    text = f"{LABELS.get(method, method)} starts from these texts"
    if method == "LinearProbe":
        text = "Zero-shot CLIP and Tip-Adapter score with these texts; the linear probe looks at images alone"
    return {"template": template, "texts": fill(template, classes), "text": f"{text}."}


def final(planner: Planner, best: Measured, last: Job) -> dict[str, Any]:
    """Return which model is kept, what it was trained on, and what is known of its accuracy, in a text."""
    data = (record.read(Path(planner.request.out, last.name)) or {})["data"]
    train, total = data["train"]["images"], len(planner.images.all)
    text = f"The final model ({last.method}) was trained on "
    text += f"all {total:,} images" if train == total else f"{train:,} of {total:,} images"
    text += f"; {counted(data['val']['images'], 'other image')} chose its settings. " if "val" in data else ". "
    if chosen := dict(pairs(best.final_settings())):
        values = ", ".join(f"{key.rpartition('.')[2]} {rounded(value)}" for key, value in chosen.items())
        text += f"Its settings are those that the folds chose, the median of each ({values}). "
    about = best.accuracy()
    text += f"Its accuracy on new images like these is taken to be that of the measurement, {percent(about)}: "
    return {"folder": last.name, "images": train, "text": f"{text}{measurement(planner)}."}


def rounded(value: str) -> str:
    """Return a setting's value to four digits if it is a number, else as it is."""
    number = as_number(value)
    return value if number is None else f"{number:.4g}"


def paid(method: str, best: Measured, zero: Measured) -> str:
    """Return in a sentence whether training was worth it."""
    from .measure import gain

    if method == "ZeroshotCLIP":
        return "Nothing was trained: zero-shot CLIP is the method."
    points, low, high = gain(best, zero)
    name, between = LABELS.get(method, method), f"95% interval {low:+.1f} to {high:+.1f}"
    if low > 0:
        return f"Training paid: {name} gets {points:+.1f} points against zero-shot CLIP ({between})."
    if high < 0:
        return f"Training did not pay: {name} gets {points:+.1f} points against zero-shot CLIP ({between})."
    return f"It is not clear that training paid: {name} gets {points:+.1f} points against zero-shot CLIP ({between})."


def better(method: str, found: Found) -> str:
    """Return a line that names the method which beats the chosen one on the same images, or "" where none does."""
    from .measure import gain

    others = {one: gain(its, found[method, None]) for (one, shots), its in found.items() if not shots and one != method}
    name, (points, low, high) = max(others.items(), key=lambda pair: pair[1])
    if low <= 0:
        return ""
    return (
        f"But {LABELS.get(name, name)} gets {points:+.1f} points against {method} (95% interval {low:+.1f} to"
        f" {high:+.1f}): try --method {name} with another --out."
    )


def percent(row: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval."""
    return f"{row['accuracy']:.1f}% (95% interval {row['low']:.1f} to {row['high']:.1f})"


def next_commands(planner: Planner, first: Job, last: Job) -> list[str]:
    """Return commands that can be typed next."""
    out, image = Path(planner.request.out), Path(planner.images.folder, planner.images.all[0].impath)
    model, fold = out / last.name, out / first.name
    words: tuple[list[str | Path], ...] = (
        ["predict", "--model-dir", model, image],
        ["inspect", fold],
        ["export", "--model-dir", model, "--out", out / "export"],
    )
    return [shlex.join(["python", "mmrl.py", *(str(shown(word)) for word in line)]) for line in words]


def shown(path: str | Path) -> str | Path:
    """Return a path relative to the working directory where it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if isinstance(path, Path) and path.is_relative_to(here) else path


def summary(out: Path) -> str:
    """Return what is printed at the end, from the files of a finished fit."""
    facts = json.loads((out / RESULT).read_text(encoding="utf-8"))
    rows = [
        [
            f"{row['label']}{' *' if row['chosen'] else ''}",
            f"{row['accuracy']:.1f}",
            f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['macro_f1']:.1f}",
            f"{row['ece']:.1f}",
            f"{row['nll']:.3f}",
            duration(row["seconds"]),
        ]
        for row in facts["results"]
    ]
    header = ["Method", "Accuracy", "95% interval", "Macro-F1", "ECE", "NLL", "Time"]
    table = tabulate(rows, header, tablefmt="simple", disable_numparse=True, colalign=("left", *["right"] * 6))
    curve = [f"{row['shots']} of each class: {percent(row)}" for row in facts["learning_curve"] or ()]
    lines = ["", table, f"* chosen. In percent but for NLL; {facts['measurement']['text']}.", "", facts["paid"], *curve]
    lines += [
        facts["final"]["text"],
        f"Page: {shown(out / PAGE)}",
        "",
        "Next:",
        *(f"  {line}" for line in facts["next"]),
    ]
    return "\n".join(lines)
