"""Image files that cannot be read, found before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from tqdm import tqdm

from dassl.utils.images import Reading, opened

THREADS = 8  # they wait for the disk together
AT_ONCE = 64  # images that a thread takes
SHOWN = 20
# How a file of a format ends. One that ends otherwise may be cut off, so it is decoded to know.
ENDS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda tail: tail.endswith(b"\xff\xd9"),
    "MPO": lambda tail: tail.endswith(b"\xff\xd9"),
    "PNG": lambda tail: b"IEND" in tail,
    "GIF": lambda tail: tail.endswith(b"\x3b"),
}
TAIL = 12  # bytes


def check_images(paths: Iterable[str], reading: Reading) -> None:
    """Look at the header and the end of image files; shows a bar where that takes longer than a second.

    Damage in between is not seen: it shows when an image is decoded. Raises OSError: names the first file that cannot
    be read and how many there are; the first ones are printed.
    """
    files = list(dict.fromkeys(paths))
    parts = [files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE)]
    found: list[str] = []
    bar = tqdm(total=len(files), unit="image", desc="Checking images", disable=None, delay=1, leave=False)
    with bar, ThreadPoolExecutor(THREADS) as pool:
        for part, faults in zip(
            parts, pool.map(lambda part: [fault(path, reading) for path in part], parts), strict=True
        ):
            found += [line for line in faults if line]
            bar.update(len(part))
    if not found:
        return
    if len(found) > 1:
        print("\n".join(found[:SHOWN]))
    of_all = f"{len(found):,} of {len(files):,} images cannot be read"
    raise OSError(f"{found[0]} ({of_all}: mend them, or take them out of the data)")


def fault(path: str, reading: Reading) -> str:
    """Return why an image file cannot be read, or nothing."""
    try:
        with opened(path, reading) as image:
            if not _ends_well(image):
                image.load()
    except OSError as error:
        return str(error)
    return ""


def _ends_well(image: Image.Image) -> bool:
    file: Any = getattr(image, "fp", None)
    ends = ENDS.get(image.format or "")
    if ends is None or file is None:
        return True
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    tail = file.read()
    file.seek(place)
    return ends(tail)
