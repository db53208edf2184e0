"""Fit a classifier to a folder of images: measure it on images that it has not seen, then train it on all of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.commandline import INTERRUPTED
from common.files import lock, write_json
from common.text import check_folder
from runs import record
from runs.data import BACK
from runs.grid.cli import plan as run_of
from trainers.shared.lists import counted, first

from . import images as reading
from . import splits, tell
from .images import Images
from .plan import AUTO, COMPARED, Job, Planner, Request, Speed, choose, time_clip

if TYPE_CHECKING:
    from classify.classifier import Classifier

PLAN, MODEL = "plan.json", "model"


def fit(
    folder: str | Path,
    method: str = AUTO,
    backbone: str = "ViT-B/16",
    shots: int | None = None,
    out: str | Path | None = None,
    folds: int = 5,
    repeats: int = 1,
    curve: Sequence[int] = (),
    template: str = "a photo of a {}.",
    cache: bool = True,
    options: Sequence[str] = (),
) -> Classifier:
    """Return a classifier of a user's images, as `python mmrl.py fit` makes it, and leave its files in `out`.

    Args:
        folder: a folder per class, or train, val and test with these in them, or a table (docs/your-own-data.md).
        method: one of `trainers.METHODS`, or `auto`.
        backbone: as in `MODEL.BACKBONE.NAME`, such as `ViT-B/16` or `embedded`.
        shots: images of each class to train on; None: all.
        out: by default `output/fit/NAME`.
        folds, repeats: of the cross-validation that it is measured by.
        curve: numbers of images of each class to measure it with too.
        template: of the prompts, with `{}` for the class name.
        cache: compute the features of a frozen CLIP once, where the method needs nothing else of an image.
        options: `KEY VALUE` words for train.py, such as `["OPTIM.LR", "0.002"]`.

    Raises:
        ValueError, OSError: bad input, in one line.
        KeyboardInterrupt, SystemExit: a signal ended it; the same call goes on.
    """
    where = str(default_out(folder) if out is None else out)
    words = tuple(map(str, options))
    this = (method, backbone, shots, folds, repeats, tuple(curve), template, cache, words)
    status = run(Request(str(folder), where, *this))
    if status:
        raise KeyboardInterrupt if status == INTERRUPTED else SystemExit(status)
    from classify.load import load_classifier

    return load_classifier(Path(where) / MODEL)


def default_out(folder: str | Path) -> Path:
    """Return where the fit of a folder goes."""
    path = Path(folder).expanduser().absolute()
    return Path("output/fit") / (path.stem if path.is_file() else path.name)


def run(request: Request) -> int:
    """Carry out a fit, or go on with one, and return the exit status: 75 or 130 where a signal ended it.

    Raises:
        ValueError, OSError: bad input, in one line; `record.ConfigDiffers` or `DataDiffers` for another fit's folder.
    """
    source, out = Path(request.source).expanduser().absolute(), Path(request.out).expanduser().absolute()
    request = replace(request, source=str(source), out=str(out))
    images = reading.read(source)
    if out == Path(images.folder) or Path(images.folder) in out.parents:
        raise ValueError(f"--out {out} lies among the images: choose a folder outside of {images.folder}")
    check_folder(str(out))
    number = splits.folds_of(images, request.folds)
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / "fit.lock"):
        plan = stored(request, images)
        if plan is None:
            plan = make(request, images, number)
        return carry_out(plan, request, images, number)


def stored(request: Request, images: Images) -> dict[str, Any] | None:
    """Return the plan that an earlier call made in the same folder, or None.

    Raises:
        ConfigDiffers, DataDiffers: it was another one, or the images have changed since.
    """
    path = Path(request.out) / PLAN
    if not path.is_file():
        return None
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        changed = record.differences(plan["request"], request.facts)
        before = splits.listed(Path(request.out) / "splits/all.csv")
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove {request.out}, or choose another --out") from error
    if changed:
        raise record.ConfigDiffers(
            f"{request.out} holds another fit: {'; '.join(changed)}; choose another --out, or remove that folder"
        )
    now = {item.impath: item.classname for item in images.all}
    groups = {
        "added": [name for name in now if name not in before],
        "gone": [name for name in before if name not in now],
        "of another class": [name for name in now if before.get(name, now[name]) != now[name]],
    }
    said = [f"{counted(len(some), 'image')} {what} ({first(some)})" for what, some in groups.items() if some]
    if said:
        raise record.DataDiffers(
            f"{request.out} holds a fit to other images: {', '.join(said)} since; {BACK}, choose another --out, or "
            "remove that folder"
        )
    return plan


def make(request: Request, images: Images, number: int) -> dict[str, Any]:
    """Choose the method, write the tables of all runs and the plan, and return the plan."""
    speed, device = time_clip(request, images)
    planner = Planner(request, images, number, speed)
    folds = list(splits.folds(images, number, request.repeats))
    method, why = choose(planner, folds, device)
    jobs = [job for one in dict.fromkeys([method, *COMPARED]) for job in planner.measurements(one, folds)]
    jobs += [job for shots in request.curve for job in planner.measurements(method, folds, shots)]
    write_tables(planner, folds)
    plan = {
        "request": request.facts,
        "method": method,
        "why": why,
        "device": device,
        "speed": speed,
        "jobs": [asdict(job) for job in jobs],
    }
    write_json(Path(request.out) / PLAN, plan)
    return plan


def write_tables(planner: Planner, folds: Sequence[splits.Fold]) -> None:
    """Write the tables of all runs, without and with validation images, and `all.csv` to tell the images by."""
    request, images = planner.request, planner.images
    for ending, with_val in (("", False), ("_val", True)):
        for fold in folds:
            for shots in (None, *request.curve):
                train, val = splits.training_part(fold.train, fold.val, shots or request.shots, with_val, fold.repeat)
                table = planner.table(f"{planner.name(fold, shots)}{ending}")
                splits.write(table, {"train": train, "val": val, "test": fold.test})
        train, val = planner.final_part(with_val)
        splits.write(planner.table(f"final{ending}"), {"train": train, "val": val})
    splits.write(planner.table("all"), {"train": images.all})


def carry_out(plan: dict[str, Any], request: Request, images: Images, number: int) -> int:
    """Carry out a plan's runs, then the final model; write what came of it, and say so. Returns the exit status."""
    out, method = Path(request.out), plan["method"]
    jobs = [Job(**{**job, "place": tuple(job["place"])}) for job in plan["jobs"]]
    complete = all((out / name).is_file() for name in (tell.RESULT, tell.PREDICTIONS, tell.CALIBRATION, tell.PAGE))
    if complete and all(run_of(job.words).state()[0] == "success" for job in jobs):
        print(f"Finished before, nothing to do: {out} holds this very classifier\n{tell.summary(out)}")
        return 0
    from .carry_out import Progress
    from .measure import Measured

    planner = Planner(request, images, number, Speed(*plan["speed"]))
    last = planner.final(method, [])  # but for what the folds choose
    tell.introduce(plan, planner, [*jobs, last])
    progress = Progress(out, [*jobs, last])
    for job in jobs:
        if status := progress.carry_out(job):
            return interrupted(status)
    shots = {method: (None, *request.curve)}
    found = {
        (one, count): Measured(out, [job for job in jobs if (job.method, job.shots) == (one, count)])
        for one in dict.fromkeys(job.method for job in jobs)
        for count in shots.get(one, (None,))
    }
    last = planner.final(method, found[method, None].final_settings())
    if status := progress.carry_out(last):
        return interrupted(status)
    progress.bar.close()
    tell.write(plan, planner, found, last)
    print(tell.summary(out))
    return 0


def interrupted(status: int) -> int:
    """Say that the same command goes on, and return the exit status."""
    print("Stopped: the same command goes on here", file=sys.stderr)
    return status
