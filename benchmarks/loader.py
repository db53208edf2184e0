"""Images per second of the training loader alone, with and without the image cache.

    python benchmarks/loader.py
    python benchmarks/loader.py --images 800 --workers 0 8 --batch 4 --repeats 9 --json loader.json

Writes JPEG files of 500 x 375 pixels to a temporary folder and loads them as a run of the CoOp family does: random
resized crop to 224 (bicubic), flip, normalisation. For each number of workers, epochs without and with the cache
(DATALOADER.CACHE_GB) take turns; the table has the medians. A first epoch of each, which starts the workers and fills
the cache, does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common

WIDTH, HEIGHT = 500, 375
COLUMNS = {
    "workers": ("workers", ""),
    "batch": ("batch", ""),
    "images": ("images", ","),
    "decoded_mb": ("decoded MB", ",.0f"),
    "plain_per_s": ("images/s, no cache", ",.0f"),
    "cached_per_s": ("images/s, cache", ",.0f"),
    "ratio": ("faster by", ".2f"),
}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Images per second of the training loader alone, without and with the image cache.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--images", type=common.positive, default=96, metavar="N", help="JPEG files to write and load")
    add("--workers", type=int, nargs="+", default=[0, 2], metavar="W", help="numbers of worker processes")
    add("--batch", type=common.positive, nargs="+", default=[4], metavar="B", help="batch sizes")
    add("--cache", choices=("both", "on", "off"), default="both", help="what to measure")
    add("--repeats", type=common.positive, default=5, metavar="N", help="epochs of each; the median counts")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE, after every row")
    return parser


def write_images(folder: Path, count: int) -> list[Any]:
    """Write `count` JPEG files, smooth with some noise as photographs are (about 80 kB each); their Datum list."""
    import numpy as np
    from PIL import Image

    from dassl.data.datasets import Datum

    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float32)
        pixels = smooth + rng.normal(0, 11, smooth.shape)
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        items.append(Datum(str(path), label=number % 10))
    return items


def training_loader(items: list[Any], workers: int, batch: int, cached: bool) -> Any:
    """The loader that training has, over `items`."""
    from dassl.config import get_cfg_default
    from dassl.data.data_manager import build_data_loader
    from dassl.data.transforms import build_transform

    cfg = get_cfg_default()
    cfg.INPUT.INTERPOLATION = "bicubic"
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.DATALOADER.NUM_WORKERS = workers
    with contextlib.redirect_stdout(io.StringIO()):  # the list of transforms
        transform = build_transform(cfg)
    limit = len(items) * WIDTH * HEIGHT * 3 / 1e9 * 1.01 if cached else 0.0
    return build_data_loader(cfg, "RandomSampler", items, batch_size=batch, tfm=transform, cache_gb=limit)


def epoch(loader: Any) -> None:
    """Load all batches."""
    for _ in loader:
        pass


def measure_row(items: list[Any], workers: int, batch: int, cache: str, repeats: int) -> dict[str, Any]:
    """A row of the table."""
    from benchmarks.measure import alternate

    sides = {"off": [False], "on": [True], "both": [False, True]}[cache]
    loaders = {cached: training_loader(items, workers, batch, cached) for cached in sides}
    calls = {str(cached): lambda loader=loader: epoch(loader) for cached, loader in loaders.items()}
    seconds = alternate(calls, repeats, "cpu", f"{workers} workers, batch {batch}", warm_up=1)
    loaded = len(next(iter(loaders.values()))) * batch if len(items) >= batch else len(items)
    plain, cached = (common.ratio(loaded, seconds.get(str(side))) for side in (False, True))
    return {
        "workers": workers,
        "batch": batch,
        "images": len(items),
        "decoded_mb": len(items) * WIDTH * HEIGHT * 3 / 1e6,
        "plain_per_s": plain,
        "cached_per_s": cached,
        "ratio": common.ratio(cached, plain),
        "seconds_per_epoch": seconds,
    }


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, print the table, and return its rows."""
    from benchmarks.measure import machine

    if min(args.workers) < 0:
        raise ValueError(f"--workers must be 0 or more, got {min(args.workers)}")
    about = machine("cpu")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        items = write_images(Path(folder), args.images)
        for workers, batch in itertools.product(args.workers, args.batch):
            rows.append(measure_row(items, workers, batch, args.cache, args.repeats))
            common.write_json(args.json, about, rows)
    common.print_tables(about, common.table(rows, COLUMNS))
    return rows


main = partial(common.program, options, run)


if __name__ == "__main__":
    main()
