"""Import few-shot splits of CoOp, to train on the very images of an earlier run.

    python mmrl.py import-fewshot --dataset oxford_pets --root DATA
    python mmrl.py import-fewshot old/split_fewshot/shot_16-seed_1.pkl --dataset oxford_pets --root DATA
    python mmrl.py import-fewshot split.pkl --shots 16 --seed 1 --dataset configs/datasets/mydata.yaml --root DATA

Without files, all shot_K-seed_S.pkl in the dataset's folder split_fewshot are imported. Each becomes
shot_K-seed_S.jsonl there, which runs with these shots and this seed use instead of a draw. Paths of another machine
are mapped by their ends; if one image cannot be found in the dataset's lists, nothing is written. A pickle that asks
for anything but Dassl's records is refused, and nothing of it is executed.
"""

from __future__ import annotations

import argparse

from common import commandline


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py import-fewshot")
    parser.add_argument("files", nargs="*", metavar="FILE.pkl", help="CoOp's pickles (default: those in the dataset)")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="as in configs/datasets, or a YAML file")
    parser.add_argument("--root", default="data", metavar="DATA", help="folder of all datasets (data)")
    parser.add_argument("--shots", type=int, metavar="K", help="if the file's name does not say")
    parser.add_argument("--seed", type=int, metavar="S", help="if the file's name does not say")
    args = parser.parse_args(argv)
    if (args.shots is None) != (args.seed is None):
        parser.error("--shots and --seed go together")
    if args.shots is not None and len(args.files) != 1:
        parser.error("--shots and --seed are of one FILE.pkl")
    return args


def import_fewshot(args: argparse.Namespace) -> int:
    """Import the files that are named, or those that are there."""
    from datasets.prepare.coop_fewshot import import_pickles

    named = None if args.shots is None else (args.shots, args.seed)
    import_pickles(args.files, args.dataset, args.root, named)
    return 0


main = commandline.command(parse_args, import_fewshot)
