"""Write the classifier of a run as a torch.export program and as ONNX, for a fixed list of classes.

    python mmrl.py export --model-dir RUN --out FOLDER
    python mmrl.py export --model-dir RUN --out FOLDER --classes "heron,stork,crane" --format onnx

FOLDER gets classifier.pt2 and classifier.onnx: preprocessed images [batch, 3, H, W] to probabilities [batch, classes],
in float32; and classifier.json: class names, preprocessing, names of input and output, where the model comes from.
Each file is run again and compared with PyTorch before it is kept. Classes are as for predict.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from common import commandline


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py export")
    add = parser.add_argument
    add("--model-dir", required=True, metavar="RUN", help="folder of a finished run")
    add("--out", required=True, metavar="FOLDER", help="where the files go; made if missing")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--classes", metavar="A,B,C", help="class names, separated by commas (default: the run's)")
    classes.add_argument("--classes-file", metavar="FILE", help="text file with one class name a line")
    add("--format", choices=("torch", "onnx", "both"), default="both", help="default: both")
    add("--opset", type=int, metavar="N", help="version of the ONNX operators (default: torch's)")
    add("--load-epoch", type=int, metavar="N", help="the epoch to load (default: best if kept, else last)")
    add("--template", metavar="TEXT", help="prompt with {} for the class name (default: the run's)")
    args = parser.parse_args(argv)
    if args.opset is not None and args.format == "torch":
        parser.error("--opset is for ONNX")
    return args


def export(args: argparse.Namespace) -> int:
    """Load, write, check, report."""
    from runs.open import recorded_cfg

    recorded_cfg(Path(args.model_dir))  # a folder that is no run's is told without waiting for torch
    from classify import load_classifier, names, program

    formats = [program.TORCH, program.ONNX] if args.format == "both" else [args.format]
    if program.ONNX in formats:
        program.check_packages()
    classes = names.from_options(args.classes, args.classes_file)
    with redirect_stdout(sys.stderr):  # stdout is for the results
        classifier = load_classifier(args.model_dir, classes, "cpu", "fp32", args.template, args.load_epoch)
        about = program.export(classifier, args.out, formats, args.opset)
    for file in about["files"].values():
        print(f"{args.out}/{file['name']}: largest difference from PyTorch {file['largest_difference']:.1e}")
    print(f"{args.out}/{program.ABOUT}: {len(classifier.classes)} classes")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse_args(argv)
    return commandline.run(lambda: export(args))
