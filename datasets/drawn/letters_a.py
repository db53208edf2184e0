"""DrawnLettersA: the letters of DrawnLetters where they are hard to see: pale, grainy, coarse, crossed by lines.

ImageNet-A holds what models of its time got wrong; here nothing is selected by any model.
"""

from __future__ import annotations

from dataclasses import replace

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnVariant
from .letters import LOOK, DrawnLetters


@DATASET_REGISTRY.register()
class DrawnLettersA(DrawnVariant):
    """The 12 classes and the fonts of DrawnLetters."""

    folder = "drawn_letters_a"
    glyphs = DrawnLetters.glyphs
    look = replace(LOOK, contrast=(0.25, 0.6), coarse=(12, 16, 32), noise=(0.03, 0.12), shade=0.1, strokes=2)
    pixels = "709de4007d7a5507a00b89714c27562519469264e5a9f7d44a488d5d2665d05c"
