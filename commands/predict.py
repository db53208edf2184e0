"""Classify images with the model of a run, or with CLIP alone.

    python mmrl.py predict --model-dir RUN photos/ more/*.jpg
    python mmrl.py predict --model-dir RUN --classes "heron,stork,crane" photos/ --csv birds.csv
    python mmrl.py predict --backbone ViT-B/16 --classes "cat,dog" photos/
    python mmrl.py predict --model-dir RUN photos/ --reject 0.8 --copy-to sorted --html sorted.html

Without --classes the classes are those that the run was trained on. With exactly these, in any order, MMRL scores with
both of its features; with any other list it scores all of them with the class feature alone, as the paper says.

Results go to stdout as a table (percent), or into a file. Images that cannot be read are named at the end and make the
exit status 1; the others are still classified and written. The last line says how many entries of the folders were left
out, and why. Files are read as in the run: own data upright, others as they are stored (docs/predict.md).

--reject leaves an image undecided when the calibrated probability of its likeliest class is lower. It needs a run that
`python mmrl.py fit` made, which measures how far its probabilities can be trusted.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import commandline


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py predict")
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGES", help="image files, folders (with all below them) or glob patterns")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model-dir", metavar="RUN", help="folder of a finished run")
    source.add_argument(
        "--backbone",
        metavar="NAME",
        help="CLIP without a run: ViT-B/16, open_clip:ARCH/PRETRAINED, hf-hub:OWNER/NAME, FILE; needs classes",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--classes", metavar="A,B,C", help="class names, separated by commas")
    classes.add_argument("--classes-file", metavar="FILE", help="text file with one class name a line")
    add("--top", type=positive, default=5, metavar="N", help="how many classes to show of each image (default 5)")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--csv", metavar="FILE", help="write a CSV file instead of the table")
    target.add_argument("--json", metavar="FILE", help="write a JSON file instead of the table")
    add("--reject", type=probability, metavar="P", help="leave an image undecided below this probability, such as 0.8")
    add("--copy-to", metavar="DIR", help="copy the images into DIR/CLASS/ and DIR/undecided/, over no other file")
    add("--html", metavar="FILE", help="write a page of thumbnails by class")
    add("--batch-size", type=positive, default=64, metavar="N", help="images that are scored at once (default 64)")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best there is)")
    add("--precision", choices=("fp32", "fp16", "amp", "bf16", "auto"), help="default: the run's")
    add("--load-epoch", type=int, metavar="N", help="the epoch to load (default: best if kept, else last)")
    add("--max-megapixels", type=above_zero, metavar="N", help="refuse larger images (default: the run's, or 179)")
    add("--template", metavar="TEXT", help="prompt with {} for the class name (default: the run's)")
    args = parser.parse_args(argv)
    if args.backbone and args.classes is None and args.classes_file is None:
        parser.error("--backbone needs --classes or --classes-file")
    if args.backbone and args.load_epoch is not None:
        parser.error("--load-epoch needs --model-dir")
    if args.reject is not None and (args.backbone or args.classes or args.classes_file or args.template):
        parser.error("--reject goes with a run's own classes and prompt: their probabilities were calibrated")
    return args


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text}")
    return int(text)


def probability(text: str) -> float:
    """A number above 0, at most 1."""
    number = above_zero(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"must be a probability, at most 1, not {text}")
    return number


def above_zero(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return number


def load(args: argparse.Namespace, classes: list[str] | None) -> Any:
    """The classifier that the arguments describe."""
    from classify import load_classifier, zero_shot

    common = {"device": args.device, "precision": args.precision}
    if args.backbone:
        assert classes is not None
        prompt = {} if args.template is None else {"template": args.template}
        return zero_shot(args.backbone, classes, **common, **prompt)
    return load_classifier(args.model_dir, classes, template=args.template, epoch=args.load_epoch, **common)


def predict(args: argparse.Namespace) -> int:
    """Find, classify, report. Returns the exit status."""
    from classify import calibration, images, names, report

    found = images.find(args.images)
    paths = found.paths
    for target in filter(None, (args.csv, args.json, args.html)):
        report.check_target(target)
    if args.copy_to and Path(args.copy_to).is_file():
        raise NotADirectoryError(f"cannot copy into {args.copy_to}: it is a file")
    classes = names.from_options(args.classes, args.classes_file)
    temperature = None
    if args.model_dir:
        from runs.open import recorded_cfg

        cfg = recorded_cfg(Path(args.model_dir))  # a folder that is no run's is told without waiting for torch
        if args.reject is not None:
            temperature = calibration.needed(args.model_dir)
    with redirect_stdout(sys.stderr):  # stdout is for the results
        classifier = load(args, classes)
    if args.max_megapixels:
        classifier.reading = replace(classifier.reading, max_megapixels=args.max_megapixels)

    bad: dict[int, OSError] = {}
    probabilities = classifier.predict(paths, args.batch_size, progress=True, on_error=bad.__setitem__)
    good = [i for i in range(len(paths)) if i not in bad]
    if good:
        tops = classifier.top(probabilities[good], args.top)
        decisions = []
        if temperature is not None:
            decisions = calibration.decide(probabilities[good], classifier.classes, temperature, args.reject)
        show(args, [(paths[i], top) for i, top in zip(good, tops, strict=True)], decisions, classifier)
    for error in bad.values():
        print(f"error: {error}", file=sys.stderr)
    if good and args.model_dir and classes is None:
        tell_half(cfg, len(classifier.classes))
    if found.left_out or bad:
        print(f"note: left out {len(found.left_out) + len(bad)}: {found.summary(len(bad))}", file=sys.stderr)
    return 1 if bad else 0


def tell_half(cfg: Any, known: int) -> None:
    """Say that a run knows only half of its data set's classes, if so."""
    half = cfg.DATASET.SUBSAMPLE_CLASSES
    if half == "all":
        return
    least = 2 * known - (half == "base")  # the base half has the one more of an odd number
    print(
        f"note: the run knows {known} of the {least} or {least + 1} classes of {cfg.DATASET.NAME} ({half}), and takes "
        "every image for one of these; name all that there may be with --classes or --classes-file",
        file=sys.stderr,
    )


def show(args: argparse.Namespace, rows: Any, decisions: Any, classifier: Any) -> None:
    """The results where the arguments want them."""
    from classify import calibration, contact_sheet, report, sort_files

    if args.csv:
        report.write_csv(args.csv, rows, decisions)
    elif args.json:
        report.write_json(args.json, rows, classifier.about, classifier.classes, decisions)
    if args.csv or args.json:
        print(f"{len(rows)} images, {len(classifier.classes)} classes: wrote {args.csv or args.json}")
    else:
        print(report.table(rows, decisions))
    sorted_images = [(path, *best) for (path, (best, *_)) in rows]
    if decisions:
        sorted_images = [(path, *decision) for (path, _), decision in zip(rows, decisions, strict=True)]
        undecided = sum(name == calibration.UNDECIDED for name, _ in decisions)
        print(f"note: {undecided} of {len(rows)} undecided: below {100 * args.reject:g}%", file=sys.stderr)
    if args.copy_to:
        copied = sort_files.copy_into(args.copy_to, [(path, name) for path, name, _ in sorted_images])
        there = f", {len(rows) - copied} were there already" if copied < len(rows) else ""
        print(f"note: copied {copied} images into the folders of {args.copy_to}{there}", file=sys.stderr)
    if args.html:
        about = f"{classifier.about['method']}, {classifier.about['backbone']}"
        contact_sheet.write(args.html, sorted_images, classifier.reading, about)
        print(f"note: wrote {args.html}", file=sys.stderr)


main = commandline.command(parse_args, predict)
