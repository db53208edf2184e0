"""DrawnLettersV2: a fresh draw of DrawnLetters, from fonts that it does not have."""

from __future__ import annotations

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnVariant, chars_of
from .letters import LETTERS, LOOK, class_of

FONTS = (
    *("DejaVuSans-Bold", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique"),
    *("STIXGeneralBol", "STIXGeneralItalic", "cmtt10"),
)


@DATASET_REGISTRY.register()
class DrawnLettersV2(DrawnVariant):
    """The 12 classes of DrawnLetters, the same look."""

    folder = "drawn_letters_v2"
    glyphs = {class_of(letter): chars_of(FONTS, letter) for letter in LETTERS}
    look = LOOK
    pixels = "f5dd81bf3e45df2258ce9a9e91e5b1f892e83675886771b98700ca009647403e"
