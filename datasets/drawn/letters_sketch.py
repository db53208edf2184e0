"""DrawnLettersSketch: the letters of DrawnLetters as outlines in pencil or chalk: no fill, no colour, a shaky hand."""

from __future__ import annotations

from dataclasses import replace

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnVariant
from .letters import LOOK, DrawnLetters


@DATASET_REGISTRY.register()
class DrawnLettersSketch(DrawnVariant):
    """The 12 classes and the fonts of DrawnLetters."""

    folder = "drawn_letters_sketch"
    glyphs = DrawnLetters.glyphs
    look = replace(LOOK, outline=True, stroke=(1, 3), wobble=0.03, colour=0, shade=0.02)
    pixels = "18d2106213d62887a206de28cbe0e5d7a0d0cc6bfa20c9288d12fa605ab820de"
