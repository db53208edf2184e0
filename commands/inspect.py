"""Look into a trained run: classes, confusions, alpha at test time, features.

    python mmrl.py inspect RUN
    python mmrl.py inspect RUN --split val --out somewhere

RUN is the folder of a finished run, or of a test run (its model is then found by the path that its record has). The
images are those that the run would test; tables and plots go to RUN/inspect/SPLIT, and a summary to stdout.
Features are shown beside frozen CLIP's. docs/inspect.md explains it.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from common import commandline

SPLITS = ("test", "val", "train")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py inspect")
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a finished run")
    add("--split", choices=SPLITS, default="test", help="images to look at; train: those drawn for training")
    add("--out", metavar="DIR", help="where the files go (default: RUN/inspect/SPLIT)")
    add("--root", default="", metavar="DIR", help="folder of all datasets (default: the run's)")
    add("--load-epoch", type=int, metavar="N", help="the epoch to load (default: what the run itself tested)")
    add("--points", type=points, default=1000, metavar="N", help="images in the plots of features (default 1000)")
    return parser.parse_args(argv)


def points(text: str) -> int:
    """A whole number from 2 on."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a whole number from 2 on, not {text}")
    return int(text)


def describe(trainer: Any, args: argparse.Namespace) -> dict[str, Any]:
    """What the files say of the run."""
    import datasets
    from runs import record
    from trainers.plugins import title

    cfg = trainer.cfg
    own = cfg.DATASET.NAME in datasets.OWN and (record.read(args.run) or {}).get("dataset_config")
    return {
        "folder": args.run,
        "split": args.split,
        "method": title(cfg),
        "dataset": own or cfg.DATASET.NAME,
        "protocol": cfg.TASK,
        "subsample": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "backbone": cfg.MODEL.BACKBONE.NAME,
    }


def inspect(args: argparse.Namespace) -> int:
    """Load, test, measure, write. Returns the exit status."""
    folder = Path(args.run)
    out = Path(args.out) if args.out else folder / "inspect" / args.split
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"cannot write into {out}: it is a file")
    from runs.open import recorded_cfg

    recorded_cfg(folder)  # a folder that is no run's is told without waiting for torch
    from classify.inspect import load, observe, write

    with redirect_stdout(sys.stderr):  # stdout is for the results
        trainer = load.open_run(folder, args.root, args.load_epoch)
        items = load.images_of(trainer, args.split)
    with redirect_stdout(StringIO()):
        found = observe.observe(trainer, items)
    content, names = write.everything(found, describe(trainer, args), out, args.points)
    print(write.text(content))
    print(f"\n{out}: {', '.join(names)}")
    return 0


main = commandline.command(parse_args, inspect)
