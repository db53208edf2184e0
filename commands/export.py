"""Write the classifier of a run as a torch.export program and as ONNX, for a fixed list of classes.

    python mmrl.py export --model-dir RUN --out FOLDER
    python mmrl.py export --model-dir RUN --out FOLDER --classes "heron,stork,crane" --format onnx
    python mmrl.py export --model-dir RUN --out FOLDER --int8 --check photos/
    python FOLDER/classify.py more_photos/
    python mmrl.py export --model-dir RUN --out FOLDER --format clip

FOLDER gets classifier.pt2 and classifier.onnx: preprocessed images [batch, 3, H, W] to probabilities [batch, classes],
in float32; classifier.json: class names, preprocessing, names of input and output, where the model comes from; and
classify.py, which reads images and runs the ONNX file with onnxruntime, numpy and Pillow alone. Each file is run again
and compared with PyTorch before it is kept. Classes are as for predict.

--int8 adds classifier.int8.onnx, whose weights have 8 bits, and tells how far its probabilities are from PyTorch's;
--check tells the accuracy of each ONNX file on your images.

--format clip writes clip.pt instead, for methods that learn a change of CLIP's own weights (CLIP_LoRA): those weights,
changed, in the form of OpenAI's files, which clip.load, open_clip and others read.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from common import commandline

CLIP = "clip"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line (default: `sys.argv`)."""
    parser = commandline.parser(__doc__, prog="python mmrl.py export")
    add = parser.add_argument
    add("--model-dir", required=True, metavar="RUN", help="folder of a finished run")
    add("--out", required=True, metavar="FOLDER", help="where the files go; made if missing")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--classes", metavar="A,B,C", help="class names, separated by commas (default: the run's)")
    classes.add_argument("--classes-file", metavar="FILE", help="text file with one class name a line")
    add("--format", choices=("torch", "onnx", "both", CLIP), default="both", help="default: both")
    add("--opset", type=int, metavar="N", help="version of the ONNX operators (default: torch's)")
    add("--load-epoch", type=int, metavar="N", help="the epoch to load (default: best if kept, else last)")
    add("--template", metavar="TEXT", help="prompt with {} for the class name (default: the run's)")
    add("--int8", action="store_true", help="also as ONNX with weights of 8 bits")
    add(
        "--check", metavar="FOLDER", help="tell the accuracy on the images of this folder, which has one for each class"
    )
    args = parser.parse_args(argv)
    for option in ("opset", "int8", "check"):
        if getattr(args, option) not in (None, False) and args.format in ("torch", CLIP):
            parser.error(f"--{option} is for ONNX")
    if args.format == CLIP and (args.classes or args.classes_file or args.template):
        parser.error("--format clip writes no classes: leave out --classes, --classes-file and --template")
    return args


def export_clip(args: argparse.Namespace) -> int:
    """Load, write CLIP's changed weights, report."""
    from runs.open import recorded_cfg

    recorded_cfg(Path(args.model_dir))
    from classify import load_classifier, plain_clip

    with redirect_stdout(sys.stderr):
        classifier = load_classifier(args.model_dir, None, "cpu", "fp32", epoch=args.load_epoch)
        path, difference = plain_clip.export(classifier, args.out)
    print(f"{path}: largest difference from PyTorch {difference:.1e}; {path.stat().st_size / 1e6:.1f} MB")
    return 0


def export(args: argparse.Namespace) -> int:
    """Load, write, check, report."""
    from runs.open import recorded_cfg

    recorded_cfg(Path(args.model_dir))  # a folder that is no run's is told without waiting for torch
    from classify import calibration, load_classifier, names, program
    from classify.images import class_folders

    formats = [program.TORCH, program.ONNX] if args.format == "both" else [args.format]
    if program.ONNX in formats:
        program.check_packages()
    classes = names.from_options(args.classes, args.classes_file)
    own = classes is None and args.template is None  # what a calibration was measured with
    temperature = calibration.temperature_of(args.model_dir) if own else None
    with redirect_stdout(sys.stderr):  # stdout is for the results
        classifier = load_classifier(args.model_dir, classes, "cpu", "fp32", args.template, args.load_epoch)
        check = class_folders(args.check, classifier.classes) if args.check else None
        formats += [program.INT8] if args.int8 else []
        about = program.export(classifier, args.out, formats, args.opset, check, temperature)
    for file in about["files"].values():
        mean = f", mean {file['mean_difference']:.1e}" if "mean_difference" in file else ""
        accuracy = (
            f"; {file['accuracy']:.2f}% of {len(check.paths)} images right" if check and "accuracy" in file else ""
        )
        size = f"{file['bytes'] / 1e6:.1f} MB"
        print(
            f"{args.out}/{file['name']}: largest difference from PyTorch {file['largest_difference']:.1e}{mean}; "
            f"{size}{accuracy}"
        )
    if program.ONNX in formats:
        print(f"{args.out}/{program.SCRIPT}: needs onnxruntime, numpy and Pillow")
    print(f"{args.out}/{program.ABOUT}: {len(classifier.classes)} classes")
    return 0


main = commandline.command(parse_args, lambda args: export_clip(args) if args.format == CLIP else export(args))
