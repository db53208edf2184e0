"""Carry out many runs, or say which are missing: method x dataset x shots x seed x settings.

    python mmrl.py grid base2new --datasets digits --methods MMRL ZeroshotCLIP --seeds 1 2 3 --jobs 2
    python mmrl.py grid --suite FILE.yaml --list

docs/grid.md explains it. Exit status: 0 all done, 1 error or a run failed, 2 wrong arguments, 75 stopped by SIGTERM,
130 by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import commandline
from runs.options import pairs
from runs.protocols import PROTOCOLS

KNOWN = ", ".join(PROTOCOLS)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`). What follows `--` is in `options`, as (key, value) pairs."""
    words = sys.argv[1:] if argv is None else argv
    cut = words.index("--") if "--" in words else len(words)
    parser = commandline.parser(__doc__, prog="python mmrl.py grid", short=True)
    add = parser.add_argument
    add("protocol", nargs="?", help=KNOWN)
    add(
        "--suite",
        type=Path,
        metavar="FILE",
        help="grids in YAML, in the place of PROTOCOL; the lists below replace theirs",
    )
    add("--datasets", nargs="*", metavar="NAME", help="files of configs/datasets; xd: the targets")
    add("--methods", nargs="*", metavar="NAME", help="folders of configs/trainers, or all (default: MMRL)")
    add("--shots", nargs="*", metavar="N", help="images of each class (default: 16)")
    add("--seeds", nargs="*", metavar="N", help="default: 1 2 3")
    add("--source", metavar="NAME", help="xd: the dataset to train on (default: imagenet)")
    add("--cfg", metavar="NAME", help="a file of configs/trainers/METHOD (default: what its file protocols says)")
    add("--set", action="append", default=[], metavar="KEY=V1,V2", help="a setting, a run for each value; repeatable")
    add("--root", metavar="DIR", help="folder of all datasets (default: $DATA, else data/)")
    add("--output", metavar="DIR", help="folder of all runs (default: $OUTPUT, else output)")
    do = parser.add_mutually_exclusive_group()
    do.add_argument("--list", action="store_true", help="every run with its state, and nothing else")
    do.add_argument("--missing", action="store_true", help="the runs that are not done; exit status 1 if there are any")
    do.add_argument("--dry-run", action="store_true", help="the commands that would run, and nothing else")
    add("--shard", metavar="I/N", help="part I of N, from 1 (default: of the Slurm array that this is in)")
    many = parser.add_mutually_exclusive_group().add_argument
    many("--jobs", type=int, metavar="N", help="runs at a time, a GPU each in turn (default: the number of GPUs, or 1)")
    many("--per-gpu", type=int, metavar="N", help="runs at a time on each GPU, in the place of --jobs (default: 1)")
    together = "the seeds of one method and data set in one process, step by step where the method can"
    add("--together", action="store_true", help=together)
    keep = "after a failure go on with the rest (default) or start nothing more"
    add("--keep-going", action=argparse.BooleanOptionalAction, default=True, help=keep)
    add_cluster_arguments(parser)
    args = parser.parse_args(words[:cut])
    try:
        args.options = pairs(words[cut + 1 :])
    except ValueError as problem:
        parser.error(str(problem))
    for name, count in (("--jobs", args.jobs), ("--per-gpu", args.per_gpu)):
        if count is not None and count < 1:
            parser.error(f"{name} must be 1 or more, not {count}")
    if args.per_gpu and args.launcher == "slurm":
        parser.error("--per-gpu is for the GPUs of this machine: a job of Slurm has one run at a time")
    if (args.protocol is None) == (args.suite is None):
        parser.error(f"give a protocol ({KNOWN}), or --suite FILE")
    return args


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that are about jobs."""
    add = parser.add_argument_group("on a cluster").add_argument
    add(
        "--launcher", choices=["local", "slurm"], help="carry out runs as jobs of Slurm, or as processes in their place"
    )
    add("--partition", metavar="NAME", help="slurm: the partition")
    add(
        "--time", metavar="TIME", default="4:00:00", help="slurm: of a job, H:MM:SS or minutes; then it is queued again"
    )
    add("--gpus", type=int, metavar="N", help="GPUs of a job (default: 1; local: 1 if there are any)")
    add("--cpus", type=int, metavar="N", help="slurm: cores of a job")
    add("--concurrency", type=int, default=0, metavar="N", help="jobs at a time (default: all; local: --jobs)")
    add("--slurm", action="append", default=[], metavar="KEY=VALUE", help="slurm: another option of sbatch; repeatable")


def grid(args: argparse.Namespace) -> int:
    """Expand the grids, and list or carry out their runs."""
    from runs.grid import cli

    return cli.main(args)


main = commandline.command(parse_args, grid)
