"""DrawnGreek: lower-case Greek letters in a hand that leans to the left."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnLoader, chars_of
from .drawing import Look

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
LETTERS = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "theta": "θ",
    "lambda": "λ",
    "mu": "μ",
    "xi": "ξ",
    "pi": "π",
    "sigma": "σ",
    "phi": "φ",
    "omega": "ω",
}


@DATASET_REGISTRY.register()
class DrawnGreek(DrawnLoader):
    """12 classes in the alphabet's order: base alpha to lambda, new mu to omega."""

    folder = "drawn_greek"
    glyphs = {f"greek_{name}": chars_of(FONTS, letter) for name, letter in LETTERS.items()}
    look = Look(turn=6, slant=-0.4, flat=0.8)
    pixels = "59b0b9712a7060c38efd8b40dd973fa0021b4b33bef4bed89f8e6d7903830552"
