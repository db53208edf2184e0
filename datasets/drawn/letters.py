"""DrawnLetters: capital letters as painted on a road, seen from afar: low and leaning.

Among the drawn data sets it has the place of ImageNet: what is trained on it is tested on the others and on its four
variants, which have the same classes.
"""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnLoader, chars_of
from .drawing import Look

LETTERS = "ABDEGHJKMQRT"
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmss10")
LOOK = Look(turn=6, slant=0.2, flat=0.55, stroke=(0, 5))


def class_of(letter: str) -> str:
    """Return the class name, as in the captions of the embedded CLIP."""
    return f"capital_{letter.lower()}"


@DATASET_REGISTRY.register()
class DrawnLetters(DrawnLoader):
    """12 classes: base A to H, new J to T."""

    folder = "drawn_letters"
    glyphs = {class_of(letter): chars_of(FONTS, letter) for letter in LETTERS}
    look = LOOK
    pixels = "02ec788426371a84815b240667c5ee0e8d8a3ab53c7feb8bb9aff26f25531d99"
