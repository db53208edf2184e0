"""Which files are images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from datasets.shared import image_files
from datasets.shared.image_files import is_image_file

CASES = Path(__file__).parents[1] / "data/cases"


def test_suffixes_are_those_of_formats_that_pillow_decodes():
    suffixes = image_files.image_suffixes()
    assert {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".tga", ".webp", ".tif", ".heic"} <= set(suffixes)
    assert not {".txt", ".pdf", ".mpg", ".h5", ".eps", ".ps", ".csv", ".json", ".npz"} & set(suffixes)
    assert list(suffixes) == sorted(suffix.lower() for suffix in suffixes)
    assert image_files.NOT_DECODED <= set(Image.registered_extensions().values())


def test_which_files_are_images_is_known_without_torch_and_without_dassl():
    code = "import sys; from datasets.shared.image_files import image_suffixes; image_suffixes()"
    code += "; assert not {'torch', 'dassl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_without_a_suffix_are_known_by_their_content(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "image", "PNG")
    (tmp_path / "text").write_text("words")
    (tmp_path / "movie").write_bytes(b"\0\0\1\xb3" + bytes(40))
    assert is_image_file(tmp_path / "image") and is_image_file("any/where.JFIF")
    assert not any(is_image_file(tmp_path / name) for name in ("text", "movie", "none"))
    (tmp_path / "huge").write_bytes((CASES / "two_hundred_megapixels.png").read_bytes())
    assert is_image_file(tmp_path / "huge")
