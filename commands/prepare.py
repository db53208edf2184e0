"""Fetch and check datasets and CLIP's weights.

    python mmrl.py prepare OxfordPets DescribableTextures clip:ViT-B/16 --root DATA
    python mmrl.py prepare ImageNet --root DATA --archive ILSVRC2012_img_train.tar ILSVRC2012_img_val.tar \\
        ILSVRC2012_devkit_t12.tar.gz
    python mmrl.py prepare OxfordPets --root DATA --verify
    python mmrl.py prepare --list

A dataset is called as in the configurations (OxfordPets or oxford_pets). What is there already is kept, what is
missing is fetched; an interrupted download goes on where it stopped. --archive takes files that you fetched yourself:
under the names that --list shows they are checked, any other is taken to be a copy of the (one) dataset named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import commandline


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py prepare")
    parser.add_argument("names", nargs="*", metavar="NAME", help="datasets, and CLIP's weights as clip:MODEL")
    parser.add_argument("--root", type=Path, default=Path("data"), metavar="DATA", help="folder of all datasets (data)")
    parser.add_argument(
        "--verify", action="store_true", help="fetch nothing, say what is missing, too much or different"
    )
    parser.add_argument("--list", action="store_true", help="show all names, with files, sizes and state")
    parser.add_argument(
        "--archive", type=Path, nargs="+", default=[], metavar="PATH", help="files you fetched yourself"
    )
    args = parser.parse_args(argv)
    args.root = args.root.expanduser()
    if not args.names and not args.list:
        parser.error("name at least one dataset, or ask for the --list")
    if args.archive and args.verify:
        parser.error("--archive fetches nothing and --verify takes nothing: choose one")
    return args


def main(argv: list[str] | None = None, table_path: Path | None = None) -> int:
    """Run the command and return its exit status: 0 if everything asked for is there and right."""
    args = parse_args(argv)
    return commandline.run(lambda: prepare(args, table_path))


def prepare(args: argparse.Namespace, table_path: Path | None) -> int:
    """List, fetch and check, with the table of sources at `table_path` (default: the project's own)."""
    from datasets.prepare import asked, sources

    try:
        table = sources.load(table_path or sources.TABLE)
        if args.list:
            asked.list_names(table, args.root)
        return asked.prepare(args.names, args.root, args.archive, args.verify, table)
    except KeyboardInterrupt:
        print("error: interrupted: what was downloaded is kept, the same command goes on from there", file=sys.stderr)
        return commandline.INTERRUPTED
