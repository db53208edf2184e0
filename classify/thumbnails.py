"""Small copies of images for HTML pages that are one file. Nothing here needs torch."""

from __future__ import annotations

import base64
import io
import os

from PIL import Image

from dassl.utils.images import Reading, read_image

UPRIGHT = Reading(upright=True)


def data_uri(path: str | os.PathLike[str], size: int = 96, reading: Reading = UPRIGHT) -> str:
    """Return an image file as a JPEG data URI whose longer side has at most `size` pixels; smaller ones keep theirs.

    Raises FileNotFoundError or OSError naming a file that cannot be read.
    """
    image = read_image(path, reading)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
