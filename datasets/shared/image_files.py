"""Which files are images. Nothing here needs torch, or any Dassl: this is asked before a Dassl reads one."""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib.util import find_spec

from PIL import Image

from common.files import BROKEN_IMAGE

# Formats that Pillow registers but does not decode by itself: it writes them only, knows their header only, or calls
# another program or the operating system to draw them.
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"})
HEIF_SUFFIXES = (".heic", ".heif", ".hif")


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of image files, lower case, with their dot, sorted, as ``name.lower().endswith`` takes them.

    They are those of the formats that Pillow decodes, and HEIC's, which it decodes where pillow-heif is installed.
    """
    _register_heif()
    known = Image.registered_extensions()
    return tuple(sorted({*HEIF_SUFFIXES, *(suffix for suffix, kind in known.items() if kind not in NOT_DECODED)}))


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file has the suffix of an image or, without a suffix, the content of one."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix:
        return suffix in image_suffixes()
    _register_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # which is told when it is read
            with Image.open(path) as image:
                return image.format not in NOT_DECODED
    except Image.DecompressionBombError:
        return True
    except BROKEN_IMAGE:
        return False


@cache
def _register_heif() -> None:
    """Make Pillow open HEIC files where pillow-heif is installed (as this project's Dassl does in every process)."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
