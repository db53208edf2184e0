"""Make a classifier of your images: measured on some that it has not seen, then trained on all.

    python mmrl.py fit photos
    python mmrl.py fit photos --method MMRL --backbone ViT-B/32 --out output/fit/birds
    python mmrl.py fit labels.csv --shots 16 --folds 3 -- OPTIM.LR 0.002

FOLDER has a folder of images for each class (or train, val and test with these in them), or is a table of paths and
classes. The method is measured by cross-validation beside zero-shot CLIP, a linear probe and Tip-Adapter. A stopped fit
goes on by the same command. docs/fit.md explains it.

Exit status: 0 done, 1 error, 2 wrong arguments, 75 stopped by SIGTERM and to be gone on with, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys

from common import commandline
from runs.options import pairs


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`). What follows `--` is in `options`, as words."""
    words = sys.argv[1:] if argv is None else argv
    cut = words.index("--") if "--" in words else len(words)
    parser = commandline.parser(__doc__, prog="python mmrl.py fit", short=True)
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="your images: a folder per class, or a CSV, TSV or JSONL file")
    add("--method", default="auto", metavar="NAME", help="default: what suits the device and the images")
    add("--backbone", default="ViT-B/16", metavar="NAME", help="as for train.py (default ViT-B/16); embedded: a toy")
    add("--shots", default="all", metavar="K", help="images of each class to train on (default: all)")
    add("--out", metavar="DIR", help="where everything goes (default: output/fit/NAME)")
    add("--folds", type=int, default=5, metavar="K", help="of the cross-validation (default 5)")
    add("--repeats", type=int, default=1, metavar="R", help="how often it is repeated with other folds (default 1)")
    add("--curve", default="", metavar="SHOTS", help='measure with fewer images too: "1 2 4 8 16"')
    add("--template", default="a photo of a {}.", metavar="TEXT", help="prompt with {} for the class name")
    add("--no-cache", dest="cache", action="store_false", help="compute features of images anew in each run")
    args = parser.parse_args(words[:cut])
    try:
        args.options = tuple(word for pair in pairs(words[cut + 1 :]) for word in pair)
        args.shots = None if args.shots == "all" else int(args.shots)
        args.curve = tuple(int(word) for word in args.curve.replace(",", " ").split())
    except ValueError as problem:
        parser.error(str(problem))
    return args


def fit(args: argparse.Namespace) -> int:
    """Measure, train, report. Returns the exit status."""
    from classify.fitting import program
    from classify.fitting.plan import Request

    given = {key: value for key, value in vars(args).items() if key not in ("folder", "out")}
    return program.run(Request(args.folder, str(args.out or program.default_out(args.folder)), **given))


main = commandline.command(parse_args, fit)
