"""Image files: which there are. Nothing here needs torch."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from PIL import Image

# Formats that Pillow registers but does not decode by itself: it writes them only, knows their header only, or calls
# another program or the operating system to draw them.
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PALM", "PDF", "WMF"})
HEIF_SUFFIXES = (".heic", ".heif", ".hif")


@cache
def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of image files, lower case, with their dot, sorted, as ``name.lower().endswith`` takes them.

    They are those of the formats that Pillow decodes, and HEIC's, which it decodes where pillow-heif is installed.
    """
    register_plugins()
    known = Image.registered_extensions()
    return tuple(sorted({*HEIF_SUFFIXES, *(suffix for suffix, kind in known.items() if kind not in NOT_DECODED)}))


@cache
def register_plugins() -> bool:
    """Make Pillow open HEIC files where pillow-heif is installed; return whether it is. Every process must ask."""
    if find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True
