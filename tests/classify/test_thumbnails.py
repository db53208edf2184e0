"""Thumbnails in HTML pages."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from classify.thumbnails import data_uri
from dassl.utils.images import AS_STORED

TURNED = Path(__file__).parents[1] / "data/cases/orientation_6.jpg"


def opened(uri: str) -> Image.Image:
    kind, content = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_thumbnail_is_small_upright_and_never_enlarged(tmp_path):
    with Image.open(TURNED) as image:
        width, height = image.size
    assert opened(data_uri(TURNED, 1000)).size == (height, width)
    assert opened(data_uri(TURNED, 1000, AS_STORED)).size == (width, height)
    Image.new("RGBA", (400, 100)).save(tmp_path / "clear.png")
    small = opened(data_uri(tmp_path / "clear.png"))
    assert small.size == (96, 24) and small.getpixel((5, 5)) == (255, 255, 255)  # on white
    with pytest.raises(OSError, match="no image file at .*/none.png"):
        data_uri(tmp_path / "none.png")
