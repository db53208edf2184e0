"""Train and test one run: one method on one dataset with one seed.

    python train.py --root DATA --output-dir OUTPUT --seed 1 --trainer MMRL \\
        --dataset-config-file configs/datasets/digits.yaml \\
        --config-file configs/trainers/MMRL/embedded.yaml DATASET.NUM_SHOTS 16

A finished run is not repeated, an unfinished one goes on where it stopped, and a run of another configuration in
the same folder is refused with the settings that differ.

Exit status: 0 done, 1 error, 2 wrong arguments, 75 stopped by SIGTERM and to be gone on with, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys

from common import commandline


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of `train.py` (default: `sys.argv`); the arguments are CoOp's, `words` holds them all."""
    parser = commandline.parser(__doc__, prog="train.py")
    add = parser.add_argument
    add("--root", default="", metavar="DIR", help="folder of all datasets")
    add("--output-dir", default="", metavar="DIR", help="the run's folder: log, checkpoints, configuration, record")
    add("--resume", default="", metavar="DIR", help="go on from this folder's checkpoints (default: the run's own)")
    add("--seed", type=int, default=None, metavar="N", help="seed of everything random, 0 included (negative: none)")
    add("--source-domains", nargs="+", metavar="NAME", help="domains to train on, for datasets that have them")
    add("--target-domains", nargs="+", metavar="NAME", help="domains to test on, for datasets that have them")
    add("--transforms", nargs="+", metavar="NAME", help="image transforms in training, in order")
    add("--config-file", default="", metavar="FILE", help="the method's settings (configs/trainers/METHOD/*.yaml)")
    add("--dataset-config-file", default="", metavar="FILE", help="the dataset (configs/datasets/*.yaml)")
    add("--trainer", default="", metavar="NAME", help="the method, such as MMRL or ZeroshotCLIP")
    add(
        "--backbone",
        default="",
        metavar="NAME",
        help="CLIP: ViT-B/16, open_clip:ARCH/PRETRAINED, hf:OWNER/NAME, hf-hub:OWNER/NAME, a folder or file",
    )
    add("--head", default="", metavar="NAME", help="head on the backbone, for trainers that have one")
    add("--eval-only", action="store_true", help="test only")
    add("--model-dir", default="", metavar="DIR", help="with --eval-only: folder of the run whose model is tested")
    add("--load-epoch", type=int, metavar="N", help="with --model-dir: the epoch to load (default: best, else last)")
    add("--deterministic", action="store_true", help="the same bits at every run on a machine (docs/runs.md)")
    add(
        "--official-stream",
        action="store_true",
        default=None,
        help="insist on the public code's tensors, order and crops of this seed (docs/coming-from-coop.md)",
    )
    add("--no-train", action="store_true", help="build data and model, and stop: nothing is trained or recorded")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="any setting, last on the line: OPTIM.LR 0.002 ...")
    args = parser.parse_args(argv)
    args.words = sys.argv[1:] if argv is None else list(argv)
    if args.model_dir and not args.eval_only:
        parser.error("--model-dir needs --eval-only; to go on with a run's training, use --resume")
    if args.load_epoch is not None and not args.model_dir:
        parser.error("--load-epoch needs --model-dir")
    if args.official_stream and args.eval_only:
        parser.error("--official-stream is of training: leave it out with --eval-only")
    if args.deterministic and (args.seed is None or args.seed < 0):
        parser.error("--deterministic needs --seed")
    return args


def rehearsal(args: argparse.Namespace) -> bool:
    """Return whether the run only builds data and model (`--no-train`), which is not put on record."""
    return args.no_train and not args.eval_only
