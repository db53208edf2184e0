"""DrawnLettersR: other renditions of the letters of DrawnLetters: script, fraktur and double-struck alphabets."""

from __future__ import annotations

from dataclasses import replace

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnVariant
from .letters import LETTERS, LOOK, class_of

FONT = "STIXGeneral"
ALPHABETS = (0x1D4D0, 0x1D56C, 0x1D538)  # Unicode's bold script, bold fraktur and double-struck A
ELSEWHERE = {0x1D53F: "ℍ", 0x1D548: "ℚ", 0x1D549: "ℝ"}  # letters that Unicode has in another place


def renditions(letter: str) -> str:
    """Return the letter in each of the alphabets."""
    codes = [start + ord(letter) - ord("A") for start in ALPHABETS]
    return "".join(ELSEWHERE.get(code, chr(code)) for code in codes)


@DATASET_REGISTRY.register()
class DrawnLettersR(DrawnVariant):
    """The 12 classes of DrawnLetters, upright and almost as high as they should be."""

    folder = "drawn_letters_r"
    glyphs = {class_of(letter): tuple((FONT, char) for char in renditions(letter)) for letter in LETTERS}
    look = replace(LOOK, flat=0.8, slant=0, stroke=(-1, 1))
    pixels = "407b5ccd29c4d8cc70ad00d5899a55b0abdbeb7fdbe4ec5e994c5ae8ef157baa"
