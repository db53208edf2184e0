"""Image files: how one becomes RGB pixels. Nothing here needs torch.

8-bit images become what ``Image.convert("RGB")`` makes of them. 16-bit greys keep the high byte of each pixel, as
Pillow itself does with 16-bit colours. 32-bit greys (integer and float) are scaled from the range that a TIFF file
states (tags MinSampleValue and MaxSampleValue, or SMinSampleValue and SMaxSampleValue); without a range they are
refused.
"""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from common.files import BROKEN_IMAGE

# ISO media files that Pillow opens only with help, by their brand.
NEEDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"), "HEIC needs pillow-heif: pip install it"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF needs Pillow 11.3 or newer: pip install -U pillow"),
}
STORED, UPRIGHT = "stored", "upright"
MAX_MEGAPIXELS = 178.95697  # Pillow's own limit, twice Image.MAX_IMAGE_PIXELS
# By the value of EXIF's orientation; those from 5 on exchange width and height.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS, MIN, MAX, SMIN, SMAX, PHOTOMETRIC = 258, 280, 281, 340, 341, 262  # tags of TIFF

# `Reading.max_megapixels` stands in for Pillow's warning, which names no file.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Attributes:
        upright: turn images as EXIF says, and lay transparent pixels on white; else both stay as the file has them.
        max_megapixels: larger images are refused.
    """

    upright: bool = False
    max_megapixels: float = MAX_MEGAPIXELS

    @classmethod
    def of(cls, cfg: Any) -> Reading:
        """Return what INPUT.READ and INPUT.MAX_MEGAPIXELS say; ValueError for an unknown value."""
        node = cfg.INPUT
        if node.READ not in (STORED, UPRIGHT):
            raise ValueError(f"INPUT.READ must be {STORED} or {UPRIGHT}, not {node.READ!r}")
        if not node.MAX_MEGAPIXELS > 0:
            raise ValueError(f"INPUT.MAX_MEGAPIXELS must be above 0, not {node.MAX_MEGAPIXELS}")
        return cls(node.READ == UPRIGHT, node.MAX_MEGAPIXELS)


AS_STORED = Reading()


def read_image(path: str | os.PathLike[str], reading: Reading = AS_STORED) -> Image.Image:
    """Read an image file as RGB; FileNotFoundError or OSError naming the file if that is impossible."""
    with opened(path, reading) as image:
        return to_rgb(image, reading.upright)


def image_size(path: str | os.PathLike[str], reading: Reading = AS_STORED) -> tuple[int, int]:
    """Return (width, height) of what `read_image` gives, from the file's header; raises as it does."""
    with opened(path, reading) as image:
        if reading.upright and orientation(image) >= 5:
            return image.height, image.width
        return image.size


def to_rgb(image: Image.Image, upright: bool = False) -> Image.Image:
    """Return a copy in RGB, 8 bits a channel. OSError for 32-bit pixels that cannot be scaled."""
    image.load()
    turn = TURNS.get(orientation(image)) if upright else None
    narrow = _eight_bits(image)
    colours = _on_white(narrow) if upright else narrow.convert("RGB")
    return colours if turn is None else colours.transpose(turn)


@contextmanager
def opened(path: str | os.PathLike[str], reading: Reading = AS_STORED) -> Iterator[Image.Image]:
    """Open an image file whose header promises that it can be read; its pixels are not decoded yet.

    What Pillow raises, here and within the block, becomes OSError naming the file; FileNotFoundError if there is none.
    """
    register_plugins()
    _lift_limit(reading)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no image file at {path}")
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
            if pixels > reading.max_megapixels * 1e6:
                raise OSError(_too_many(pixels, reading))
            if image.mode in ("I", "F"):
                _range(image)
            yield image
    except UnidentifiedImageError as error:
        raise OSError(f"cannot read image {path}: {_unidentified(path)}") from error
    except Image.DecompressionBombError as error:
        (pixels, *_) = map(int, re.findall(r"\d+", str(error)))
        raise OSError(f"cannot read image {path}: {_too_many(pixels, reading)}") from error
    except BROKEN_IMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"cannot read image {path}: {reason}") from error


def orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, from 1 (upright) to 8; of TIFF files 1, since Pillow turns them itself."""
    if image.format == "TIFF":
        return 1
    try:
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # PNG's own would decode the pixels first
    except (SyntaxError, ValueError, LookupError, struct.error):  # what is no EXIF says nothing
        return 1
    return value if value in TURNS else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return greys of more than 8 bits as L, or LA where a grey stands for transparency, and others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    import numpy as np

    pixels = np.asarray(image)
    if image.mode == "F" or image.mode == "I" and not _is_sixteen_bit(image):
        low, high = _range(image)
        if not (pixels.min() >= low and pixels.max() <= high):  # nor for NaN
            raise OSError(f"it has pixels outside of the range that it states, {low:g} to {high:g}")
        greys = np.rint((pixels.astype(np.float64) - low) * (255 / (high - low)))
    else:
        greys = pixels >> (_tag(image, BITS, 16) - 8)  # TIFF has 12 bits as well
    if _tag(image, PHOTOMETRIC, 1) == 0:  # white is zero
        greys = 255 - greys
    narrow = Image.fromarray(greys.astype(np.uint8))
    if "transparency" in image.info:
        alpha = np.where(pixels == image.info["transparency"], 0, 255).astype(np.uint8)
        narrow.putalpha(Image.fromarray(alpha))
    return narrow


def _on_white(image: Image.Image) -> Image.Image:
    """Return an 8-bit image as RGB, laid on white where it is transparent."""
    if not image.mode.endswith(("A", "a")) and "transparency" not in image.info:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    white = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB")


def _is_sixteen_bit(image: Image.Image) -> bool:
    """Whether pixels of mode I are 16-bit greys: of PNG in older Pillow, and of PPM, where it scales them to that."""
    return image.format in ("PNG", "PPM")


def _range(image: Image.Image) -> tuple[float, float]:
    """Return what is black and what is white in an image of 32 bits. OSError where nothing says it."""
    if image.mode == "I" and _is_sixteen_bit(image):
        return 0, 65535
    low, high = _tag(image, SMIN, _tag(image, MIN, 0)), _tag(image, SMAX, _tag(image, MAX, None))
    if high is None or not low < high:
        kind = "float" if image.mode == "F" else "integer"
        raise OSError(
            f"its {kind} pixels have no stated range, so nothing says which is white: save it with 8 or 16 bits, or as "
            "TIFF with the tags SMinSampleValue and SMaxSampleValue"
        )
    return low, high


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    """Return the first value of a TIFF tag, or `default` where there is none."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return value[0] if isinstance(value, tuple) else value


def _lift_limit(reading: Reading) -> None:
    """Let Pillow open, and crop later on, what `max_megapixels` allows; it never lets it open less."""
    allowed = int(reading.max_megapixels * 1e6)
    if Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < allowed:
        Image.MAX_IMAGE_PIXELS = allowed


def _too_many(pixels: int, reading: Reading) -> str:
    return (
        f"it has {pixels / 1e6:.1f} megapixels, more than the {reading.max_megapixels:g} of INPUT.MAX_MEGAPIXELS "
        "(mmrl.py predict: --max-megapixels): raise that if you trust the file, or make the image smaller"
    )


def _unidentified(path: str | os.PathLike[str]) -> str:
    """Say why Pillow does not know a file."""
    with open(path, "rb") as file:
        start = file.read(12)
    if not start:
        return "it is empty (0 bytes)"
    if start[4:8] == b"ftyp" and not register_plugins():
        return NEEDS.get(start[8:12], "not an image file")
    return "not an image file"


@cache
def register_plugins() -> bool:
    """Make Pillow open HEIC files where pillow-heif is installed; return whether it is. Every process must ask."""
    if find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True
