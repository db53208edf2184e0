"""Reading image files: which there are, and what pixels come out."""

from __future__ import annotations

import subprocess
import sys

from PIL import Image

from dassl.utils import images


def test_suffixes_are_those_of_formats_that_pillow_decodes():
    suffixes = images.image_suffixes()
    assert {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".avif", ".tga", ".webp", ".tif", ".heic"} <= set(suffixes)
    assert not {".txt", ".pdf", ".mpg", ".h5", ".eps", ".ps", ".csv", ".json", ".npz"} & set(suffixes)
    assert list(suffixes) == sorted(suffix.lower() for suffix in suffixes)
    assert images.NOT_DECODED <= set(Image.registered_extensions().values())


def test_which_files_are_images_is_known_without_torch():
    code = "import sys, dassl.utils.images as i; i.image_suffixes(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
