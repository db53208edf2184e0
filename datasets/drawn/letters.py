"""DrawnLetters: capital letters as painted on a road, seen from afar: low and leaning; and its four variants.

Among the drawn data sets it has the place of ImageNet: what is trained on it is tested on the others and on its
variants, which have the same classes.
"""

from __future__ import annotations

from dataclasses import replace

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnLoader, DrawnVariant, chars_of
from .drawing import Look

LETTERS = "ABDEGHJKMQRT"
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmss10")
OTHER_FONTS = (
    *("DejaVuSans-Bold", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique"),
    *("STIXGeneralBol", "STIXGeneralItalic", "cmtt10"),
)
ALPHABETS = (0x1D4D0, 0x1D56C, 0x1D538)  # Unicode's bold script, bold fraktur and double-struck A
ELSEWHERE = {0x1D53F: "ℍ", 0x1D548: "ℚ", 0x1D549: "ℝ"}  # letters that Unicode has in another place
LOOK = Look(turn=6, slant=0.2, flat=0.55, stroke=(0, 5))


def class_of(letter: str) -> str:
    """Return the class name, as in the captions of the embedded CLIP."""
    return f"capital_{letter.lower()}"


def renditions(letter: str) -> str:
    """Return the letter in each of the alphabets."""
    codes = [start + ord(letter) - ord("A") for start in ALPHABETS]
    return "".join(ELSEWHERE.get(code, chr(code)) for code in codes)


@DATASET_REGISTRY.register()
class DrawnLetters(DrawnLoader):
    """12 classes: base A to H, new J to T."""

    folder = "drawn_letters"
    glyphs = {class_of(letter): chars_of(FONTS, letter) for letter in LETTERS}
    look = LOOK
    pixels = "02ec788426371a84815b240667c5ee0e8d8a3ab53c7feb8bb9aff26f25531d99"


@DATASET_REGISTRY.register()
class DrawnLettersV2(DrawnVariant):
    """A fresh draw of the 12 classes of DrawnLetters, the same look, from fonts that it does not have."""

    folder = "drawn_letters_v2"
    glyphs = {class_of(letter): chars_of(OTHER_FONTS, letter) for letter in LETTERS}
    look = LOOK
    pixels = "f5dd81bf3e45df2258ce9a9e91e5b1f892e83675886771b98700ca009647403e"


@DATASET_REGISTRY.register()
class DrawnLettersSketch(DrawnVariant):
    """The letters of DrawnLetters as outlines in pencil or chalk: no fill, no colour, a shaky hand."""

    folder = "drawn_letters_sketch"
    glyphs = DrawnLetters.glyphs
    look = replace(LOOK, outline=True, stroke=(1, 3), wobble=0.03, colour=0, shade=0.02)
    pixels = "18d2106213d62887a206de28cbe0e5d7a0d0cc6bfa20c9288d12fa605ab820de"


@DATASET_REGISTRY.register()
class DrawnLettersA(DrawnVariant):
    """The letters of DrawnLetters where they are hard to see: pale, grainy, coarse, crossed by lines.

    ImageNet-A holds what models of its time got wrong; here nothing is selected by any model.
    """

    folder = "drawn_letters_a"
    glyphs = DrawnLetters.glyphs
    look = replace(LOOK, contrast=(0.25, 0.6), coarse=(12, 16, 32), noise=(0.03, 0.12), shade=0.1, strokes=2)
    pixels = "709de4007d7a5507a00b89714c27562519469264e5a9f7d44a488d5d2665d05c"


@DATASET_REGISTRY.register()
class DrawnLettersR(DrawnVariant):
    """Script, fraktur and double-struck renditions of the 12 classes, upright and almost as high as they should be."""

    folder = "drawn_letters_r"
    glyphs = {class_of(letter): chars_of(("STIXGeneral",), renditions(letter)) for letter in LETTERS}
    look = replace(LOOK, flat=0.8, slant=0, stroke=(-1, 1))
    pixels = "407b5ccd29c4d8cc70ad00d5899a55b0abdbeb7fdbe4ec5e994c5ae8ef157baa"
