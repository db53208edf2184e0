"""Seconds to train a head over cached features (FEATURES.ONCE), against encoding every image each time it is used.

    python benchmarks/features.py
    python benchmarks/features.py --methods CLIPAdapter --json features.json

Trains each method with its configuration for ViT-B/16 on images of separable classes, whose features of width 512 come
from a tower of one layer and lie in the cache already. The column with the images says how many the usual path
would encode meanwhile. What that costs is extrapolated, from a few images through a tower of ViT-B/16's size: "usual s"
is "s" and that. Loading and testing are not in the times.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common

METHODS = "LinearProbe LPpp TipAdapter TipAdapterF CLIPAdapter CLAP ZSLP TaskRes ProLIP".split()
PARTS = {"train": 1.0, "val": 0.25, "test": 0.25}  # images, of --shots
COLUMNS = {
    "method": ("method", ""),
    "train": ("training images", ","),
    "seconds": ("s", ".2f"),
    "cpu_seconds": ("CPU s", ".2f"),
    "encoded": ("images encoded", ","),
    "usual_seconds": ("usual s", ",.0f"),
    "ratio": ("faster by", ",.0f"),
}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Seconds to train a head over cached features, against encoding images each time.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--methods", choices=METHODS, nargs="+", default=list(METHODS), help="what to train")
    add("--classes", type=common.positive, default=100, metavar="C", help="classes")
    add("--shots", type=common.positive, default=16, metavar="K", help="training images of each class")
    add("--tower-images", type=common.positive, default=8, metavar="N", help="images to time the tower on")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE, after every row")
    return parser


def write_images(folder: Path, classes: int, shots: int) -> None:
    """Write images of 32 x 32 pixels that are noise around one picture per class, as folders train, val and test."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in range(classes):
        picture = rng.uniform(0, 255, (32, 32, 3))
        for part, share in PARTS.items():
            place = folder / part / f"class {label}"
            place.mkdir(parents=True)
            for number in range(max(1, round(share * shots))):
                pixels = picture + rng.normal(0, 60, picture.shape)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{number}.png")


def seconds_per_image(folder: Path, size: Any, images: int) -> float:
    """Return what a tower of ``size`` takes for an image, measured on a few in one pass."""
    import torch

    from benchmarks import cases
    from benchmarks.measure import alternate
    from trainers.shared.backbone import load_clip
    from trainers.shared.cosine import frozen_features

    cases.write_weights(folder / "tower.safetensors", size)
    clip_model = load_clip(folder / "tower.safetensors", "fp32", torch.device("cpu"))
    batch = torch.randn(images, 3, size.res, size.res)
    found = alternate({"tower": lambda: frozen_features(clip_model, batch)}, 3, "cpu", "tower", warm_up=1)
    return found["tower"] / images


def trainer_of(method: str, folder: Path, shots: int, res: int) -> Any:
    """Return the trainer of a run over cached features of images of ``res`` x ``res``, as train.py builds it."""
    from runs import protocols
    from runs.arguments import parse_args
    from runs.config import build_cfg
    from runs.execute import build

    name = protocols.default_config("fewshot", "imagefolder", method, shots)
    words = ["--trainer", method, "--output-dir", str(folder / "runs" / method), "--seed", "1"]
    words += ["--dataset-config-file", str(protocols.dataset_file("imagefolder"))]
    words += ["--config-file", str(protocols.method_file(method, name)), "--backbone", str(folder / "clip.safetensors")]
    settings: dict[str, Any] = {"DATASET.FOLDER": folder / "images", "DATASET.NUM_SHOTS": shots, "USE_CUDA": False}
    settings |= {"FEATURES.ONCE": True, "FEATURES.FOLDER": folder / "features", "TEST.NO_TEST": True}
    words += ["INPUT.SIZE", f"({res}, {res})", *(str(word) for pair in settings.items() for word in pair)]
    return build(build_cfg(parse_args(words)), deterministic=False)


def measure(method: str, folder: Path, shots: int, res: int, per_image: float) -> dict[str, Any]:
    """Return a row of the table, of a run that finds all features it needs."""
    from trainers.shared.cached_features import FeatureSet

    encoded = 0
    real = FeatureSet.__getitem__

    def counted(self: Any, places: list[int]) -> dict[str, Any]:
        nonlocal encoded
        encoded += len(places)
        return real(self, places)

    with patch.object(FeatureSet, "__getitem__", counted), contextlib.redirect_stdout(io.StringIO()):
        first: Any = trainer_of(method, folder, shots, res)
        for loader in (first.train_loader_x, first.val_loader):
            next(iter(loader))  # fills the cache
        trainer = trainer_of(method, folder, shots, res)
        encoded, wall, cpu = 0, time.perf_counter(), time.process_time()
        trainer.train()
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    encoded = encoded or trainer.tally.training.images  # ProLIP takes the whole set in each step, not batches of it
    usual = seconds + encoded * per_image
    return {
        "method": method,
        "train": len(trainer.dm.dataset.train_x),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "encoded": encoded,
        "usual_seconds": usual,
        "ratio": usual / seconds,
    }


def run(args: argparse.Namespace, size: Any = None) -> list[dict[str, Any]]:
    """Measure, print the table, and return its rows; ``size`` is that of all CLIPs, by default as said above."""
    from benchmarks import cases
    from benchmarks.measure import machine

    about, rows = machine("cpu"), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", args.classes, args.shots)
        heads = size or cases.Size(res=32, vision=(768, 1), text=(512, 1))
        cases.write_weights(folder / "clip.safetensors", heads)
        per_image = seconds_per_image(folder, size or cases.Size(text=(64, 1)), args.tower_images)
        for method in args.methods:
            rows.append(measure(method, folder, args.shots, heads.res, per_image))
            common.write_json(args.json, {**about, "tower_seconds_per_image": per_image}, rows)
    common.print_tables(about, common.table(rows, COLUMNS))
    print(f"\nExtrapolated: a tower of ViT-B/16's size takes {1000 * per_image:.0f} ms for an image here.")
    return rows


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
