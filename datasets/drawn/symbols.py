"""DrawnSymbols: signs, shapes and small icons from a thick pen, low and leaning to the left."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import DrawnLoader, chars_of
from .drawing import Look

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono")
SYMBOLS = {
    "anchor": "⚓",
    "airplane": "✈",
    "umbrella": "☂",
    "cloud": "☁",
    "flag": "⚑⚐",
    "scales": "⚖",
    "heart": "♥♡",
    "star": "★☆",
    "music_note": "♪♫",
    "question_mark": "?",
    "euro_sign": "€",
    "percent_sign": "%",
}


@DATASET_REGISTRY.register()
class DrawnSymbols(DrawnLoader):
    """12 classes: base anchor to scales, new heart to percent sign."""

    folder = "drawn_symbols"
    glyphs = {name: chars_of(FONTS, chars) for name, chars in SYMBOLS.items()}
    look = Look(turn=8, slant=-0.4, flat=0.8, stroke=(1, 3))
    pixels = "f6a739e9f4fc26d9329c46f735a52d5e145c22db02070dd4798e9e1eee562d78"
